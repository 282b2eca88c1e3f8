"""What workloads work on."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from lamella.benchmark.settings import BenchmarkCase
from lamella.errors import StoreError
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.workloads.drawn import draw_clip, draw_volume
from lamella.workloads.inputs import open_input, prepare_workload, read_clip, read_volume
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.sizes import SIZES

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", Path(__file__).parents[3].parent / "shared/data"))
SMALL = SIZES[WorkloadSettings().size]


def prepared(folder, case, **given):
    about = folder / "input.json"
    prepare_workload(case=case, output=about, settings=WorkloadSettings(**given))
    return open_input(about)


def test_drawn_clip_has_a_dark_vessel_below_bright_speckle():
    clip = draw_clip(5, seed=1)
    assert (clip.shape, clip.dtype) == ((5, 400, 400), np.uint8)
    assert clip[:, 160:200, 200:240].mean() < 20
    assert clip[:, 5:40, 20:60].mean() > 60
    assert (draw_clip(5, seed=1) == clip).all()
    assert (draw_clip(5, seed=2) != clip).any()


def test_drawn_volume_has_lungs_in_tissue_in_air():
    volume = np.stack(list(draw_volume((10, 60, 80), seed=1)))
    assert (volume.shape, volume.dtype) == ((10, 60, 80), np.int16)
    corner, lung, between = volume[5, :4, :4], volume[5, 28:32, 22:25], volume[5, 10:50, 39:41]
    means = [float(part.mean()) for part in (corner, lung, between)]
    np.testing.assert_allclose(means, [-1000, -860, 40], atol=25)


def test_small_inputs_have_the_size_that_is_named(tmp_path):
    clip = np.load(prepared(tmp_path / "us", BenchmarkCase.ULTRASOUND))
    volume = np.load(prepared(tmp_path / "ct", BenchmarkCase.CT))
    with SlideReader(prepared(tmp_path / "wsi", BenchmarkCase.WSI), DEFAULT_READING) as slide:
        assert slide.size_l0 == SMALL.slide_px
    assert len(clip) == SMALL.frames
    assert volume.shape == SMALL.volume_zyx


def test_given_volume_is_turned_to_slices_rows_columns_and_repeated(tmp_path):
    x_y_z = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    given = tmp_path / "given.nii.gz"
    nibabel.save(nibabel.Nifti1Image(x_y_z, np.eye(4)), given)
    volume = np.load(prepared(tmp_path / "ct", BenchmarkCase.CT, volume=given))
    assert volume.shape == SMALL.volume_zyx
    for z, y, x in ((0, 0, 0), (3, 1, 1), (4, 0, 0), (39, 100, 99)):
        assert volume[z, y, x] == x_y_z[x % 2, y % 3, z % 4]


@pytest.mark.skipif(not DATA.exists(), reason=f"no test data in {DATA} (LAMELLA_TEST_DATA)")
def test_real_clip_and_volume_are_read():
    path = DATA / "ultrasound/pocus/Reg_Image_18122_crop.mp4"
    clip = read_clip(path, 1000)
    assert (clip.shape, clip.dtype) == ((187, 208, 208), np.uint8)
    np.testing.assert_array_equal(read_clip(path, 5), clip[:5])
    volume = read_volume(DATA / "volumes/totalseg/example_ct_sm.nii.gz")
    assert volume.shape == (30, 101, 122)
    assert (volume.min(), volume.max()) == (-1100, 1207)


@pytest.mark.skipif(not DATA.exists(), reason=f"no test data in {DATA} (LAMELLA_TEST_DATA)")
def test_dicom_file_is_refused_of_which_frames_would_be_lost():
    # Of its 30 frames FFmpeg returns 19.
    with pytest.raises(StoreError, match="a DICOM file, of which FFmpeg loses frames"):
        read_clip(DATA / "ultrasound/examples_ybr_color.dcm", 30)


@pytest.mark.skipif(not DATA.exists(), reason=f"no test data in {DATA} (LAMELLA_TEST_DATA)")
def test_volume_of_four_dimensions_is_refused():
    with pytest.raises(StoreError, match="it has 4 dimensions, not 3"):
        read_volume(DATA / "volumes/example4d.nii.gz")


@pytest.mark.parametrize("case", [BenchmarkCase.ULTRASOUND, BenchmarkCase.CT])
def test_what_is_no_clip_and_no_volume_is_refused_by_name(tmp_path, case):
    given = tmp_path / "given.nii"
    given.write_text("neither")
    name = {"ultrasound": "frames", "ct": "volume"}[case]
    with pytest.raises(StoreError, match="cannot be read") as raised:
        prepared(tmp_path / "out", case, **{name: given})
    assert str(given) in str(raised.value)


def test_given_slide_is_read_where_it_is_also_by_a_relative_path_or_a_link(tmp_path, monkeypatch):
    slide = tmp_path / "slides" / "given.png"
    slide.parent.mkdir()
    Image.new("RGB", (700, 500), (200, 60, 150)).save(slide)
    (tmp_path / "link.png").symlink_to(slide)
    monkeypatch.chdir(tmp_path)
    for number, given in enumerate((slide, Path("slides/given.png"), tmp_path / "link.png")):
        assert prepared(tmp_path / f"out{number}", BenchmarkCase.WSI, slide=given) == slide


def test_volume_that_is_cut_off_or_holds_no_numbers_is_refused(tmp_path):
    volume = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    for name, values in (("sound.nii.gz", volume), ("nan.nii.gz", volume * np.nan)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    whole = (tmp_path / "sound.nii.gz").read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        read_volume(tmp_path / "half.nii.gz")
    with pytest.raises(StoreError, match="voxels of it are NaN or infinite"):
        read_volume(tmp_path / "nan.nii.gz")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (
            np.zeros((4, 5, 6), dtype=[(name, "u1") for name in "RGB"]),
            r"voxels of it are no real numbers but .*'R', 'u1'",
        ),
        (
            np.full((4, 5, 6), 1 + 2j, dtype=np.complex64),
            "voxels of it are no real numbers but complex64",
        ),
        (np.zeros((4, 0, 6), dtype=np.int16), r"it has no voxel: its shape is \(4, 0, 6\)"),
    ],
)
def test_volume_of_colours_or_complex_numbers_or_without_a_voxel_is_refused(tmp_path, values, why):
    path = tmp_path / "given.nii"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(StoreError, match=why) as raised:
        prepared(tmp_path / "ct", BenchmarkCase.CT, volume=path)
    assert str(path) in str(raised.value)


def test_input_that_was_changed_afterwards_is_refused(tmp_path):
    path = prepared(tmp_path, BenchmarkCase.CT)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="another one than was prepared"):
        open_input(tmp_path / "input.json")
