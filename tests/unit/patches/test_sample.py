"""Windows, shares and labels."""

from fractions import Fraction

import numpy as np
import pytest
import shapely

from lamella.annotations.frame import Frame
from lamella.annotations.raster import Raster
from lamella.patches.areas import Windows, compared, exact_area, tumor_shares
from lamella.patches.sample import choose_windows, grid_corners
from lamella.patches.settings import BalancePer, LabelSource, PatchSettings, Sampling
from lamella.slides.resolution import ReadPlan
from lamella.stores.shards import PatchColumns
from lamella.tissue.mask import TissueMask
from lamella.units import Level0Pixels, LevelPixels, Mpp

PLAN = ReadPlan(0, Mpp(0.5), LevelPixels(20), Level0Pixels(20), 20)


def mask_of(*rows: str) -> TissueMask:
    return TissueMask(np.array([[c == "#" for c in row] for row in rows]), Level0Pixels(10))


def windows(
    mask: TissueMask, tumor: shapely.Geometry | None = None, **settings: object
) -> PatchColumns:
    rows, columns = mask.pixels.shape
    return choose_windows(
        mask,
        (columns * 10, rows * 10),
        PLAN,
        PatchSettings(size_px=20, **{"label_source": LabelSource.ANNOTATION, **settings}),
        slide="a",
        slide_label=str(settings.pop("slide_label", "tumor")),
        tumor=tumor,
    )


def corners(chosen: PatchColumns) -> list[tuple[int, int]]:
    return list(zip(chosen.x.tolist(), chosen.y.tolist(), strict=True))


def test_keeps_windows_with_enough_tissue_row_by_row_x_first() -> None:
    mask = mask_of(
        "....##",
        "....##",
        "##..#.",
        "#.....",
    )
    assert corners(windows(mask, min_tissue_share=0.5)) == [(40, 0), (0, 20)]


def test_exactly_the_threshold_is_in_and_no_tissue_is_never_in() -> None:
    mask = mask_of("##....", "......")
    assert corners(windows(mask, min_tissue_share=0.5)) == [(0, 0)]
    assert corners(windows(mask, min_tissue_share=0.51)) == []
    assert corners(windows(mask, min_tissue_share=0.0)) == [(0, 0)]


def test_windows_cut_by_the_border_are_left_out() -> None:
    x, y = grid_corners((59, 41), Level0Pixels(20), Level0Pixels(20))
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(0, 0), (20, 0), (0, 20), (20, 20)]
    assert grid_corners((16, 16), Level0Pixels(20), Level0Pixels(20))[0].size == 0


def test_tumor_share_is_the_exact_area() -> None:
    tumor = shapely.Polygon([(0, 0), (40, 0), (0, 40)]).difference(shapely.box(2, 2, 6, 7))
    x, y = np.array([0, 20, 20]), np.array([0, 0, 20])
    shares = tumor_shares(tumor, x, y, Level0Pixels(20))
    assert shares.tolist() == pytest.approx([(400 - 20) / 400, 0.5, 0.0])
    assert np.isnan(tumor_shares(None, x, y, Level0Pixels(20))).all()


def test_labels_follow_the_thresholds() -> None:
    mask = mask_of("########", "########")
    tumor = shapely.box(0, 0, 30, 20).union(shapely.box(40, 0, 42, 20))
    chosen = windows(mask, tumor)
    assert chosen.tumor_share.tolist() == pytest.approx([1.0, 0.5, 0.1, 0.0])
    assert chosen.label.tolist() == [1, 1, -1, 0]
    assert windows(mask, tumor, keep_unlabelled=False).label.tolist() == [1, 1, 0]


@pytest.mark.parametrize(("slide_label", "label"), [("normal", 0), ("tumor", -1), ("", -1)])
def test_without_annotation_only_a_normal_slide_is_known(slide_label: str, label: int) -> None:
    chosen = choose_windows(
        mask_of("##", "##"),
        (20, 20),
        PLAN,
        PatchSettings(size_px=20),
        slide="a",
        slide_label=slide_label,
        tumor=None,
    )
    assert chosen.label.tolist() == [label]


def test_slide_labels_can_be_given_to_every_patch() -> None:
    chosen = choose_windows(
        mask_of("##", "##"),
        (20, 20),
        PLAN,
        PatchSettings(size_px=20, label_source=LabelSource.SLIDE, classes=("a", "b", "c")),
        slide="x",
        slide_label="c",
        tumor=None,
    )
    assert chosen.label.tolist() == [2]


def test_random_draws_at_most_n_of_each_class_and_depends_on_seed_and_slide_only() -> None:
    mask = mask_of(*["#" * 40] * 20)
    tumor = shapely.box(0, 0, 100, 200)
    settings = {"sampling": Sampling.RANDOM, "per_class": 12}
    chosen = windows(mask, tumor, **settings)
    assert np.bincount(chosen.label).tolist() == [12, 12]
    assert corners(chosen) == sorted(corners(chosen), key=lambda corner: (corner[1], corner[0]))
    assert corners(windows(mask, tumor, **settings)) == corners(chosen)
    assert corners(windows(mask, tumor, **settings, seed=1)) != corners(chosen)
    everything = windows(mask, tumor, sampling=Sampling.RANDOM, per_class=10_000)
    assert len(everything) == 20 * 10


def test_overlap_comes_from_the_stride() -> None:
    assert corners(windows(mask_of("####", "####"), stride_px=10)) == [(0, 0), (10, 0), (20, 0)]


def test_painted_tumour_gives_exact_shares_and_labels() -> None:
    painted = Raster(np.array([[True, False, False]]), Frame(0, 0, 60, 20))
    chosen = windows(mask_of("######", "######"), painted, stride_px=10)
    assert chosen.x.tolist() == [0, 10, 20, 30, 40]
    assert chosen.tumor_share.tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert chosen.label.tolist() == [1, 1, 0, 0, 0]


def test_painted_tumour_of_exactly_the_threshold_is_in_at_any_scale() -> None:
    # A seventh of the width is painted: no whole level-0 pixel, and three tenths of a window.
    painted = Raster(np.array([[True] + [False] * 6]), Frame(0, 0, 42, 20))
    x = y = np.array([0])
    shares = tumor_shares(painted, x, y, Level0Pixels(20))
    sides = [
        compared(shares, share, painted, Windows(x, y, Level0Pixels(20))).tolist()
        for share in (0.29, 0.3, 0.31)
    ]
    assert sides == [[1], [0], [-1]]


def test_all_takes_every_window_with_any_tissue_also_without_a_label() -> None:
    mask = mask_of("#.......", "....####")
    tumor = shapely.box(40, 0, 44, 20)
    chosen = windows(
        mask, tumor, sampling=Sampling.ALL, min_tissue_share=0.9, keep_unlabelled=False
    )
    assert corners(chosen) == [(0, 0), (40, 0), (60, 0)]
    assert chosen.label.tolist() == [0, -1, 0]
    assert chosen.tissue_share.tolist() == [0.25, 0.5, 0.5]


def test_balanced_takes_as_many_of_every_class_that_the_slide_shows() -> None:
    mask = mask_of(*["#" * 40] * 20)
    tumor = shapely.box(0, 0, 60, 40).union(shapely.box(200, 0, 202, 200))
    chosen = windows(mask, tumor, sampling=Sampling.BALANCED)
    assert [int((chosen.label == value).sum()) for value in (-1, 0, 1)] == [6, 6, 6]
    few = windows(mask, tumor, sampling=Sampling.BALANCED, per_class=4, keep_unlabelled=False)
    assert [int((few.label == value).sum()) for value in (-1, 0, 1)] == [0, 4, 4]
    normal_alone = windows(mask, shapely.Polygon(), sampling=Sampling.BALANCED)
    assert len(normal_alone) == 200


def test_balanced_over_several_slides_cuts_the_same_windows_as_random() -> None:
    mask = mask_of(*["#" * 40] * 20)
    tumor = shapely.box(0, 0, 60, 40)
    drawn = windows(mask, tumor, sampling=Sampling.RANDOM, per_class=20)
    for per in (BalancePer.PATIENT, BalancePer.COHORT):
        chosen = windows(mask, tumor, sampling=Sampling.BALANCED, balance_per=per, per_class=20)
        assert corners(chosen) == corners(drawn)


# These shares of 400 pixels are whole numbers, but none of them is a double.
@pytest.mark.parametrize("share", [0.1, 0.29, 0.3, 0.57, 0.7, 0.93])
def test_tissue_of_exactly_the_threshold_is_in_whatever_doubles_say(share: float) -> None:
    pixels = np.zeros((20, 40), dtype=bool)
    enough = round(share * 400)
    left, right = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    left[:enough] = True
    right[: enough - 1] = True
    pixels[:, :20], pixels[:, 20:] = left.reshape(20, 20), right.reshape(20, 20)
    mask = TissueMask(pixels, Level0Pixels(1))
    chosen = choose_windows(
        mask,
        (40, 20),
        PLAN,
        PatchSettings(size_px=20, min_tissue_share=share),
        slide="a",
        slide_label="normal",
        tumor=None,
    )
    assert corners(chosen) == [(0, 0)]


@pytest.mark.parametrize("share", [0.1, 0.29, 0.3, 0.7])
@pytest.mark.parametrize("offset", [0, 100_000])
def test_tumour_of_exactly_the_threshold_is_in_whatever_doubles_say(
    share: float, offset: int
) -> None:
    # Three strips of decimal widths that add up to the share, as a program would export them.
    widths = [round(20 * share / 3, 2)] * 2
    widths.append(round(20 * share - sum(widths), 2))
    starts = [0.1, 6.7, 13.3]
    strips = [
        shapely.box(offset + round(x, 2), offset, round(offset + x + width, 2), offset + 20)
        for x, width in zip(starts, widths, strict=True)
    ]
    x = y = np.array([offset])
    windows_of_20 = Windows(x, y, Level0Pixels(20))
    for strip_count, side in ((3, 0), (2, -1)):
        tumor = shapely.union_all(strips[:strip_count])
        shares = tumor_shares(tumor, x, y, Level0Pixels(20))
        assert compared(shares, share, tumor, windows_of_20).tolist() == [side]


def test_windows_away_from_the_outline_are_not_computed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(
        "lamella.patches.areas.exact_area",
        lambda _, corner, edge: asked.append(corner) or Fraction(edge**2),
    )
    tumor = shapely.box(10, 0, 90, 90)
    x, y = np.array([0, 20, 40, 200]), np.array([20, 20, 70, 20])
    shares = tumor_shares(tumor, x, y, Level0Pixels(20))
    assert shares.tolist() == [0.5, 1.0, 1.0, 0.0]
    for threshold, sides in ((0.0, [1, 1, 1, 0]), (1.0, [-1, 0, 0, -1])):
        found = compared(shares, threshold, tumor, Windows(x, y, Level0Pixels(20)))
        assert found.tolist() == sides
    # The one that touches the outline from within.
    assert asked == [(40, 70)]


def test_exact_area_is_the_area_of_rings_holes_and_several_parts() -> None:
    # A concave polygon with a hole, cut by the window, and a second part outside of it.
    comb = shapely.Polygon(
        [(-5, -5), (30, -5), (30, 3), (7, 3), (7, 8), (30, 8), (30, 30), (-5, 30)],
        [[(1, 10), (4, 10), (4, 14), (1, 14)]],
    )
    both = shapely.MultiPolygon([comb, shapely.box(100, 100, 110, 110)])
    expected = 20 * 20 - 13 * 5 - 12
    assert exact_area(both, (0, 0), 20) == expected
    assert shapely.area(shapely.intersection(both, shapely.box(0, 0, 20, 20))) == expected
    triangle = shapely.Polygon([(0, 0), (0.1, 0), (0, 0.1)])
    assert exact_area(triangle, (0, 0), 20) == Fraction(1, 200)


def test_tumour_given_as_a_raster_is_counted_in_whole_pixels() -> None:
    # Pixels of 10 by 10, as those of the mask; the last one's threshold is no whole pixel.
    painted = [[True, True, True, True, False, False, False, False], [True, True, *[False] * 6]]
    raster = Raster(np.array(painted), Frame(0, 0, 80, 20))
    chosen = choose_windows(
        mask_of("########", "########"),
        (80, 20),
        PLAN,
        PatchSettings(size_px=20, tumor_min_share=0.5, normal_max_tumor_share=0.1),
        slide="a",
        slide_label="tumor",
        tumor=raster,
    )
    assert chosen.tumor_share.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert chosen.label.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"seed": 5}, True),
        ({"per_class": 5}, True),
        ({"jpeg_quality": 50}, True),
        ({"balance_per": "cohort"}, True),
        ({"stride_px": 224}, True),
        ({"stride_px": 112}, False),
        ({"codec": "zstd"}, False),
        ({"min_tissue_share": 0.4}, False),
        ({"sampling": "all"}, False),
    ],
)
def test_only_settings_with_an_effect_make_patches_anew(
    changed: dict[str, object], same: bool
) -> None:
    made = PatchSettings().of_extraction() == PatchSettings(**changed).of_extraction()
    assert made is same


def test_settings_of_a_drawn_sampling_and_of_jpeg_count_where_they_are_used() -> None:
    def made(**settings: object) -> PatchSettings:
        return PatchSettings(**settings).of_extraction()

    assert made(sampling="random", seed=1) != made(sampling="random", seed=2)
    assert made(sampling="all", min_tissue_share=0.1) == made(sampling="all")
    assert made(storage="jpeg", jpeg_quality=80) != made(storage="jpeg")
    assert made(storage="jpeg", codec="zstd") == made(storage="jpeg")
    assert made(sampling="balanced", balance_per="patient") == made(sampling="random")
    assert made(sampling="balanced") != made(sampling="random")
