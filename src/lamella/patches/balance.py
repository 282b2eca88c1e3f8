"""As many patches of every class in each patient or split: which rows stay in the index."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.patches.sample import number_of
from lamella.patches.settings import BalancePer

_GROUP = {BalancePer.PATIENT: "patient", BalancePer.COHORT: "split"}


def balanced_rows(table: pd.DataFrame, per: BalancePer, seed: int) -> NDArray[np.bool_]:
    """Return which patches of a cohort stay when classes are balanced.

    Every patch draws a number that depends on seed, slide and row alone, and the lowest numbers of
    each class stay. So another slide changes few of the others' patches, and nothing depends on
    the order of slides.

    Args:
        table: Columns of the index, at least ``slide patient split row label``.
        per: ``patient`` or ``cohort``, which is one split of it. The rarest class that occurs
            there says how many of each stay.
        seed: Seed of the draw.

    Returns:
        ``(n,)``. Patches without a label all stay; they are no class.
    """
    labelled = table[table["label"] >= 0]
    drawn = labelled.assign(lot=_lots(labelled, seed))
    group = _GROUP[per]
    counts = labelled.groupby([group, "label"]).size()
    most = drawn[group].map(counts.groupby(group).min())
    rank = drawn.groupby([group, "label"])["lot"].rank(method="first")
    stays = np.ones(len(table), dtype=bool)
    stays[table.index.get_indexer(drawn.index[rank > most])] = False
    return stays


def _lots(table: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    lots = np.empty(len(table))
    rows = table["row"].to_numpy(np.int64)
    for slide, places in table.groupby("slide").indices.items():
        generator = np.random.default_rng([seed, number_of(str(slide))])
        lots[places] = generator.random(int(rows[places].max()) + 1)[rows[places]]
    return lots
