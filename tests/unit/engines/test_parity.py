import shutil
from dataclasses import replace

import numpy as np
import pytest

from lamella.engines.openvino_engine import OpenVinoEngine
from lamella.engines.parity import check_parity
from lamella.engines.samples import read_reference
from lamella.engines.settings import EngineName, ParitySettings
from lamella.engines.verdict import COLUMNS, read_parity
from lamella.errors import StoreError
from lamella.settings import Device
from lamella.stores.tables import read_table
from lamella.tracking.record import check_files
from lamella.tracking.settings import TrackingSettings


@pytest.fixture
def tracked(monkeypatch):
    records = []
    monkeypatch.setattr("lamella.engines.parity.track", lambda *call: records.append(call))
    return records


def compare(results, folder, *, index=None, **settings):
    output = folder / "tiny" / "parity.tsv"
    check_parity(
        export_folder=results.export_folder,
        index=index or results.index,
        output=output,
        settings=ParitySettings(threads=1, batch_size=5, **settings),
        tracking=TrackingSettings(),
    )
    return output


def test_all_engines_agree_with_the_trained_network_on_all_held_out_patches(
    results, tmp_path, tracked
):
    output = compare(results, tmp_path)
    rows = read_table(output)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["engine"], row["verdict"], row["n"]) for row in rows] == [
        ("torch", "valid", "37"),
        ("onnxruntime", "valid", "37"),
        ("openvino", "valid", "37"),
    ]
    assert all(float(row["max_abs_difference"]) < 1e-5 for row in rows)
    assert all(float(row["top1_agreement"]) == 1.0 for row in rows)

    reference = read_reference(output.with_name("reference.parquet"))
    assert reference.index_digest == "d1" * 32
    np.testing.assert_allclose(reference.probabilities.sum(axis=1), 1.0, atol=1e-6)

    [(record, folder, _)] = tracked
    assert folder == tmp_path / "tiny" / "parity"
    assert record.params["verdict_openvino"] == "valid"
    folder.mkdir()
    check_files(record, folder)


def test_two_comparisons_write_identical_tables(results, tmp_path, tracked):
    first = compare(results, tmp_path / "1", patches=11)
    second = compare(results, tmp_path / "2", patches=11)
    assert first.read_bytes() == second.read_bytes()


def test_an_engine_that_answers_otherwise_is_invalid_and_stays_in_the_table(
    results, tmp_path, tracked, monkeypatch
):
    right = OpenVinoEngine.infer
    monkeypatch.setattr(OpenVinoEngine, "infer", lambda self, x: right(self, x) + np.float32(0.01))
    rows = read_table(compare(results, tmp_path))
    assert [row["verdict"] for row in rows] == ["valid", "valid", "invalid"]
    assert rows[2]["reason"] == "differs by 0.01, limit 0.0001"


def test_nan_answers_are_invalid(results, tmp_path, tracked, monkeypatch):
    right = OpenVinoEngine.infer
    monkeypatch.setattr(OpenVinoEngine, "infer", lambda self, x: right(self, x) * np.float32("nan"))
    output = compare(results, tmp_path, engines=(EngineName.OPENVINO,))
    assert read_parity(output, EngineName.OPENVINO)["verdict"] == "invalid"


def test_an_unavailable_engine_gets_a_row_that_says_why(results, tmp_path, tracked):
    output = compare(
        results, tmp_path, engines=(EngineName.OPENVINO,), device=Device.CUDA, patches=3
    )
    row = read_parity(output, EngineName.OPENVINO)
    assert row["verdict"] == "unavailable"
    assert row["reason"] == "OpenVINO does not run on NVIDIA GPUs"
    assert row["max_abs_difference"] == ""


def test_an_engine_that_cannot_load_its_model_is_unavailable_and_the_others_are_compared(
    results, tmp_path, tracked, monkeypatch
):
    folder = shutil.copytree(results.export_folder, tmp_path / "export" / "tiny")
    (folder / "torch" / "model.pt2").write_bytes(b"nonsense")
    shutil.copytree(results.metrics[1].parents[2], tmp_path / "train")

    def no_memory(*_):
        raise RuntimeError("no room\nat line 7")

    monkeypatch.setattr(OpenVinoEngine, "__init__", lambda *_, **__: no_memory())
    output = compare(replace(results, export_folder=folder), tmp_path, patches=3)
    verdicts = {row["engine"]: (row["verdict"], row["reason"]) for row in read_table(output)}
    assert verdicts["onnxruntime"] == ("valid", "")
    assert verdicts["openvino"] == ("unavailable", "it cannot load the model (no room)")
    assert verdicts["torch"][0] == "unavailable"
    assert "damaged" in verdicts["torch"][1]


def test_an_engine_that_was_not_compared_is_not_taken_for_valid(results, tmp_path, tracked):
    output = compare(results, tmp_path, engines=(EngineName.TORCH,), patches=3)
    with pytest.raises(StoreError, match=r"openvino was not compared.*parity.engines"):
        read_parity(output, EngineName.OPENVINO)


def test_patches_that_do_not_fit_are_refused(results, tmp_path, tracked):
    from lamella.patches.index import read_index, write_index

    folder = shutil.copytree(results.index.parent, tmp_path / "patches")
    index = replace(read_index(results.index), mpp=0.25)
    write_index(folder / "index.parquet", index)
    with pytest.raises(StoreError, match=r"48 px at 0.25 microns per pixel, the model takes"):
        compare(results, tmp_path, index=folder / "index.parquet")
