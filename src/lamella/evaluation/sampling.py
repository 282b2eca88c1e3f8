"""Whether the patches of a slide can speak for it."""

import json

from lamella.patches.index import PatchIndex
from lamella.patches.settings import LabelSource, Sampling
from lamella.stores.shards import ShardReader

SAMPLED_BY_ANNOTATION = (
    "no score: patches were drawn by annotated class, so it would repeat the annotation;"
    " choose `patches.sampling: grid`"
)
"""Remark on a slide whose patches tell how much of it was annotated as tumour."""


def score_remark(sampling: Sampling, label_source: LabelSource) -> str:
    """Return why the patches of a slide make no score; empty where they do.

    With `random` and `balanced`, so many patches of each class are drawn. Where an annotation
    decides the class, their mixture is that of the annotation, and any figure over them would tell
    it.
    """
    drawn = sampling in {Sampling.RANDOM, Sampling.BALANCED}
    by_annotation = label_source is LabelSource.ANNOTATION
    return SAMPLED_BY_ANNOTATION if drawn and by_annotation else ""


def index_remark(index: PatchIndex) -> str:
    """Return the same of the patches of an index, as its first shard says they were chosen.

    Imported files do not say how their patches were chosen; there is no remark on them.

    Raises:
        StoreError: the shard is missing or damaged.
    """
    with ShardReader(index.folder / str(index.table["shard"].iloc[0])) as shard:
        chosen = json.loads(shard.attributes.get("settings", "{}"))
    if "sampling" not in chosen:
        return ""
    return score_remark(Sampling(chosen["sampling"]), LabelSource(chosen["label_source"]))
