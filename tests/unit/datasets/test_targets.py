"""Every patch is given what the slide table says of its slide; bad cells are named by line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamella.datasets.settings import TargetKind, TargetSettings
from lamella.datasets.targets import Scale, read_targets
from lamella.errors import CohortErrors

LABELS = TargetSettings(kind="multi_label", columns=("her2", "er"))
NUMBER = TargetSettings(kind="regression", columns=("score",))


def slide_table(folder: Path, *cells: str) -> Path:
    """Write a table of slides s2, s0, s1: not in the order of the index."""
    path = folder / "slides.tsv"
    rows = [
        f"{name}\t{name}.svs\t{cell}" for name, cell in zip(("s2", "s0", "s1"), cells, strict=False)
    ]
    path.write_text("\n".join(["slide\tpath\ter\ther2\tscore", *rows]) + "\n")
    return path


def messages(settings, index, table) -> list[str]:
    with pytest.raises(CohortErrors) as caught:
        read_targets(settings, index, table)
    return str(caught.value).splitlines()


def test_classes_are_those_of_the_index_and_no_table_is_read(index):
    found = read_targets(TargetSettings(), index, Path("nowhere.tsv"))
    assert (found.kind, found.names, found.scale) == (TargetKind.CLASSES, ("normal", "tumor"), None)
    assert found.truth.dtype == np.int64
    assert found.truth.tolist() == index.table["label"].tolist()
    assert found.known.tolist() == [label >= 0 for label in index.table["label"]]


def test_every_patch_has_the_labels_of_its_slide_in_the_order_of_the_settings(index, tmp_path):
    table = slide_table(tmp_path, "1\t0\t", "0\t1\t", "\t1.0\t")
    found = read_targets(LABELS, index, table)
    # Slides s0, s1 and s2 have 5, 6 and 7 patches.
    expected = [[1, 0]] * 5 + [[1, np.nan]] * 6 + [[0, 1]] * 7
    np.testing.assert_array_equal(found.truth, np.array(expected, dtype=np.float32))
    assert (found.names, found.truth.dtype, found.scale) == (("her2", "er"), np.float32, None)
    assert found.known.all()


def test_numbers_are_scaled_by_the_known_ones_of_training_alone(index, tmp_path):
    found = read_targets(NUMBER, index, slide_table(tmp_path, "\t\t1e6", "\t\t-2.5", "\t\t4"))
    assert found.truth[[0, 5, 11], 0].tolist() == [-2.5, 4.0, 1e6]
    mean = (5 * -2.5 + 6 * 4.0) / 11
    deviation = ((5 * (-2.5 - mean) ** 2 + 6 * (4.0 - mean) ** 2) / 11) ** 0.5
    assert found.scale.means == pytest.approx([mean], rel=1e-12)
    assert found.scale.deviations == pytest.approx([deviation], rel=1e-12)


def test_patches_of_a_slide_of_which_nothing_is_known_are_unknown(index, tmp_path):
    found = read_targets(LABELS, index, slide_table(tmp_path, "1\t0\t", "\t\t7", "0\t\t"))
    assert found.known.tolist() == [False] * 5 + [True] * 13
    known = found.take(np.flatnonzero(found.known))
    assert (len(known), known.names) == (13, found.names)
    np.testing.assert_array_equal(known.truth[[0, 12]], [[np.nan, 0], [0, 1]])


def test_a_column_without_a_known_value_has_no_scale(index, tmp_path):
    found = read_targets(NUMBER, index, slide_table(tmp_path, "\t\t3", "\t\t", "\t\t"))
    assert np.isnan(found.scale.means).all()
    assert Scale.of(np.full((3, 1), 2.0)).deviations.tolist() == [0.0]


def test_all_bad_labels_are_named_at_once_with_line_column_and_cell(index, tmp_path):
    table = slide_table(tmp_path, "1\t2\t", "yes\t0\t", "0\tnan\t")
    assert messages(LABELS, index, table) == [
        f"{table}:{line}: {what}, not 0 or 1. Correct the cell, or empty it where unknown."
        for line, what in ((2, "her2 is '2'"), (3, "er is 'yes'"), (4, "her2 is 'nan'"))
    ]


@pytest.mark.parametrize("cell", ["high", "nan", "inf", "-Infinity", "1e39", "0,5"])
def test_a_number_that_is_none_or_not_finite_is_refused(index, tmp_path, cell):
    table = slide_table(tmp_path, "\t\t1", f"\t\t{cell}", "\t\t2")
    (message,) = messages(NUMBER, index, table)
    assert message.startswith(f"{table}:3: score is {cell!r}, not a finite number.")


def test_an_unknown_column_is_refused_with_the_closest(index, tmp_path):
    table = slide_table(tmp_path, "1\t1\t1", "0\t0\t0", "0\t0\t0")
    settings = TargetSettings(kind="regression", columns=("scores", "zzz"))
    first, second = messages(settings, index, table)
    said = "there is no column 'scores' to learn. Did you mean 'score'? Correct target.columns of"
    assert first == f"{table}: {said} the run."
    assert second.endswith(
        "It has slide, path, patient, label, annotation, centre, split, mpp,"
        " mask, er, her2, score. Correct target.columns of the run."
    )


def test_a_slide_of_the_index_that_the_table_lacks_is_named(index, tmp_path):
    table = slide_table(tmp_path, "1\t1\t1", "0\t0\t0")
    assert messages(LABELS, index, table)[0].startswith(f"{table}: slide 's1' has patches, but no")


def test_the_digest_follows_every_cell_and_what_it_means(index, tmp_path):
    def digest(settings, *cells):
        return read_targets(settings, index, slide_table(tmp_path, *cells)).digest

    cells = ("1\t0\t3", "0\t1\t1", "0\t0\t0")
    same = digest(LABELS, *cells)
    assert digest(LABELS, "1\t0\t3", "0\t1\t77", "0\t0\t0") == same  # another column
    assert digest(LABELS, "1\t0\t3", "0\t1\t1", "\t0\t0") != same
    swapped = TargetSettings(kind="multi_label", columns=("er", "her2"))
    as_numbers = TargetSettings(kind="regression", columns=("her2", "er"))
    assert len({same, digest(swapped, *cells), digest(as_numbers, *cells)}) == 3
    relabelled = replace(index, table=index.table.assign(label=0))
    classes = TargetSettings()
    assert (
        read_targets(classes, index, tmp_path).digest
        != read_targets(classes, relabelled, tmp_path).digest
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ("er",)}, "columns are for kind multi_label and regression"),
        ({"kind": "multi_label"}, "kind multi_label needs columns of the slide table"),
        ({"kind": "regression", "columns": ()}, "kind regression needs columns"),
        ({"kind": "regression", "columns": ("a", "b", "a")}, "columns holds one name twice"),
        ({"kind": "binary"}, "kind"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TargetSettings(**settings)
