import numpy as np
import pytest

from lamella.engines.fit import check_patches_fit
from lamella.engines.samples import (
    Reference,
    batches,
    choose_patches,
    read_patches,
    read_reference,
    write_reference,
)
from lamella.errors import StoreError
from lamella.export.description import read_description
from lamella.patches.index import read_index
from lamella.stores.shards import ShardReader


def test_only_held_out_patches_are_chosen_each_once(results):
    table = choose_patches(read_index(results.index), most=1000, seed=0)
    assert table["split"].value_counts().to_dict() == {"test": 23, "validation": 14}
    assert not table.duplicated(["slide", "row"]).any()


def test_a_seed_always_chooses_the_same_and_another_seed_others(results):
    index = read_index(results.index)
    chosen = [list(choose_patches(index, most=10, seed=seed).index) for seed in (1, 1, 2)]
    assert len(chosen[0]) == 10
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]
    assert chosen[0] == sorted(chosen[0])


def test_a_cohort_without_held_out_patches_is_refused(results):
    index = read_index(results.index)
    index.table["split"] = "train"
    with pytest.raises(StoreError, match="no patch belongs to the validation or test split"):
        choose_patches(index, most=10, seed=0)


def test_patches_of_several_shards_come_in_the_order_of_the_table(results):
    index = read_index(results.index)
    table = index.table.iloc[[40, 11, 45, 0, 22]]
    pixels = read_patches(table, index)
    for place, (_, row) in enumerate(table.iterrows()):
        with ShardReader(index.folder / row["shard"]) as shard:
            expected = shard.read(np.array([row["row"]]))[0]
        np.testing.assert_array_equal(pixels[place], expected)


def test_the_last_batch_may_be_smaller():
    patches = np.arange(7, dtype=np.uint8)
    assert [batch.tolist() for batch in batches(patches, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_reference_answers_are_read_as_they_were_written(results, tmp_path):
    table = choose_patches(read_index(results.index), most=5, seed=0)
    probabilities = np.random.default_rng(0).random((5, 2), dtype=np.float32)
    reference = Reference(table, probabilities, "d1", {"onnx": "ab", "torch": "cd"})
    write_reference(tmp_path / "reference.parquet", reference)
    found = read_reference(tmp_path / "reference.parquet")
    np.testing.assert_array_equal(found.probabilities, probabilities)
    assert (found.index_digest, found.models) == ("d1", {"onnx": "ab", "torch": "cd"})
    assert found.table["x"].tolist() == table["x"].tolist()
    assert found.table["shard"].tolist() == table["shard"].tolist()


def test_missing_reference_answers_are_refused(tmp_path):
    with pytest.raises(
        StoreError, match=r"reference.parquet: the reference answers cannot be read"
    ):
        read_reference(tmp_path / "reference.parquet")


@pytest.mark.parametrize(("patch_px", "mpp"), [(47, 0.5), (48, 0.25), (96, 0.25)])
def test_patches_of_another_size_or_resolution_do_not_fit(results, patch_px, mpp):
    description = read_description(results.export_folder / "onnx")
    with pytest.raises(StoreError, match=r"the model takes 48 px at 0.5"):
        check_patches_fit(description, patch_px=patch_px, mpp=mpp, where="index.parquet")


def test_a_resolution_that_differs_by_rounding_fits(results):
    description = read_description(results.export_folder / "onnx")
    check_patches_fit(description, patch_px=48, mpp=0.4991, where="index.parquet")
