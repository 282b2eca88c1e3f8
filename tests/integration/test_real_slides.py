"""Every layer on real slides, among them those that cannot be used."""

import os
from pathlib import Path

import pytest

from lamella.fleet.manifest import Status, read_manifest
from lamella.patches.index import read_index
from lamella.stores.tables import read_table

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")).resolve() / "slides"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.alone,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no slides"),
]

CMU, WSIC = "cmu-1-small-region.svs", "wsic/CMU-1-Small-Region.jpeg.tiff"
ROWS = {
    # slide: path, made-up label, split, mpp
    "cmu-train": (CMU, "tumor", "train", ""),
    "wsic-train": (WSIC, "tumor", "train", "0.499"),
    "cmu-validation": (CMU, "tumor", "validation", ""),
    "wsic-test": (WSIC, "tumor", "test", "0.499"),
    "wsic-wrong": (WSIC, "normal", "train", ""),
    "broken": ("edge/broken.svs", "normal", "train", ""),
    "small": ("edge/small.svs", "normal", "train", ""),
    "boxes": ("edge/boxes.tiff", "normal", "train", ""),
    "fluorescence": ("test3-DAPI-2-(387).ndpi", "normal", "train", ""),
    "thumbnail": ("multiframe_camelyon_challenge_image.dcm", "normal", "test", ""),
    "ome-1": ("ome_tiff/OS-1-detail.ome.tif", "normal", "train", ""),
    "ome-2": ("ome_tiff/OS-2-ndpi.ome.tif", "normal", "train", ""),
}
REASONS = {
    "wsic-wrong": "0.00499 microns per pixel are implausible",
    "broken": "no reader knows this format",
    "small": "smaller than one patch",
    "boxes": "352.778 microns per pixel are implausible",
    "fluorescence": "dark background",
    "thumbnail": "28.969 microns per pixel are implausible",
}
ANNOTATION = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="made up" Type="Polygon" PartOfGroup="_0" Color="#F4FA58"><Coordinates>
<Coordinate Order="0" X="0" Y="0" /><Coordinate Order="1" X="1100" Y="0" />
<Coordinate Order="2" X="1100" Y="2967" /><Coordinate Order="3" X="0" Y="2967" />
</Coordinates></Annotation></Annotations><AnnotationGroups /></ASAP_Annotations>
"""


def held_out(folder: Path, slide: Path) -> Path:
    """Return another slide of the same region: one byte longer, else it would count as a copy."""
    other = folder / slide.name
    other.write_bytes(slide.read_bytes() + b"\0")
    return other


def write_table(folder: Path) -> Path:
    (folder / "half.xml").write_text(ANNOTATION)
    lines = ["slide\tpatient\tpath\tlabel\tsplit\tmpp\tannotation"]
    for slide, (name, label, split, mpp) in ROWS.items():
        annotation = "half.xml" if label == "tumor" else ""
        path = (
            held_out(folder, DATA / name)
            if name in (CMU, WSIC) and split != "train"
            else DATA / name
        )
        # Two rows are one file, which only one patient may have.
        patient = "wsic" if name == WSIC and split == "train" else slide
        lines.append(f"{slide}\t{patient}\t{path}\t{label}\t{split}\t{mpp}\t{annotation}")
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    return folder / "slides.tsv"


def test_usable_slides_go_all_the_way_and_the_others_say_why_not(
    tmp_path: Path, workfolder
) -> None:
    run = {"model": "test_resnet", "epochs": 1, "batch_size": 8}
    work = workfolder(
        "work",
        {
            "slides": str(write_table(tmp_path)),
            "patches": {"size_px": 128, "mpp": 0.5, "tumor_min_share": 0.6},
            "training": {"runs": {"made-up": run}},
            "benchmark": {"engines": ["onnxruntime"], "iterations": 4, "warmup": 1},
            "parity": {"patches": 64},
            "interpret": {"patches_per_class": 2},
        },
    )
    # Strict is the default: all is made, and then the run fails for the quarantined slides.
    assert work.run() != 0
    assert "6 of 12 slides failed" in work.log

    rows = read_manifest(work / "patches/manifest.tsv")
    assert list(rows) == list(ROWS)
    failed = {slide: row.error for slide, row in rows.items() if row.status is Status.FAILED}
    assert failed.keys() == REASONS.keys()
    for slide, reason in REASONS.items():
        assert reason in failed[slide]
        assert failed[slide].endswith(".")
    assert {row["slide"] for row in read_table(work / "failures.tsv")} == REASONS.keys()

    table = read_index(work / "patches/index.parquet").table
    one_region = table[~table.slide.str.startswith("ome")]
    assert one_region.groupby("slide").size().nunique() == 1
    assert set(table.label) == {0, 1, -1}
    scores = {row["slide"] for row in read_table(work / "predict/made-up/scores.tsv")}
    assert scores >= ROWS.keys() - REASONS.keys()
    report = (work / "report/index.html").read_text()
    for slide in ROWS:
        assert slide in report
    assert "column `mpp`" in report or "column <code>mpp</code>" in report
