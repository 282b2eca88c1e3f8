import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamella.engines.openvino_engine import OpenVinoEngine, cpu_capabilities
from lamella.engines.parity import check_parity
from lamella.engines.samples import read_reference
from lamella.engines.settings import EngineName, ParityLimits, ParitySettings, Precision
from lamella.engines.verdict import COLUMNS, read_parity
from lamella.errors import StoreError
from lamella.settings import Device
from lamella.stores.tables import read_table
from lamella.tracking.record import check_files
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import load_trained


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
    assert record.params["verdict_openvino_f32"] == "valid"
    folder.mkdir()
    check_files(record, folder)


@pytest.mark.skipif("BF16" not in cpu_capabilities(), reason="this CPU has no bf16")
def test_every_precision_has_a_row_and_is_held_against_its_own_limit(results, tmp_path, tracked):
    output = compare(
        results,
        tmp_path,
        engines=(EngineName.ONNXRUNTIME, EngineName.OPENVINO),
        precisions=(Precision.F32, Precision.BF16, Precision.TF32),
        # Random weights make more of a rounding than learned ones.
        limits=ParityLimits(bf16=0.1),
    )
    columns = ("engine", "precision", "limit", "verdict", "reason")
    reason = "ONNX Runtime computes in f32 alone by CPUExecutionProvider"
    assert [tuple(row[column] for column in columns) for row in read_table(output)] == [
        ("onnxruntime", "f32", "0.0001", "valid", ""),
        ("onnxruntime", "bf16", "0.1", "unavailable", reason),
        ("onnxruntime", "tf32", "0.01", "unavailable", "tf32 is arithmetic of NVIDIA GPUs"),
        ("openvino", "f32", "0.0001", "valid", ""),
        ("openvino", "bf16", "0.1", "valid", ""),
        ("openvino", "tf32", "0.01", "unavailable", "tf32 is arithmetic of NVIDIA GPUs"),
    ]
    assert (
        float(read_parity(output, EngineName.OPENVINO, Precision.F32)["max_abs_difference"]) < 1e-5
    )
    assert (
        float(read_parity(output, EngineName.OPENVINO, Precision.BF16)["max_abs_difference"]) > 1e-3
    )
    [(record, _, _)] = tracked
    assert (record.params["limit_bf16"], record.params["verdict_openvino_bf16"]) == ("0.1", "valid")
    assert "max_abs_difference_openvino_bf16" in {metric.key for metric in record.metrics}


@pytest.mark.skipif("BF16" not in cpu_capabilities(), reason="this CPU has no bf16")
def test_a_precision_beyond_its_limit_is_invalid_and_stays_beside_the_valid_one(
    results, tmp_path, tracked
):
    output = compare(
        results,
        tmp_path,
        engines=(EngineName.OPENVINO,),
        precisions=(Precision.BF16, Precision.F32),
        limits=ParityLimits(bf16=1e-3),
    )
    rows = {row["precision"]: row for row in read_table(output)}
    assert [(name, row["verdict"]) for name, row in rows.items()] == [
        ("bf16", "invalid"),
        ("f32", "valid"),
    ]
    assert rows["bf16"]["reason"].endswith(", limit 0.001")


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
    assert read_parity(output, EngineName.OPENVINO, Precision.F32)["verdict"] == "invalid"


def test_a_trained_network_that_answers_nan_is_refused_before_engines_are_blamed(
    results, tmp_path, tracked, monkeypatch
):
    def damaged(metrics):
        model = load_trained(metrics)
        with torch.no_grad():
            next(model.network.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr("lamella.engines.parity.load_trained", damaged)
    with pytest.raises(StoreError, match="the trained network itself gives answers that are not"):
        compare(results, tmp_path, patches=3)
    assert not (tmp_path / "tiny" / "parity.tsv").exists()


def test_a_network_that_says_the_same_of_all_patches_is_told(
    results, tmp_path, tracked, monkeypatch, caplog
):
    compare(results, tmp_path, patches=3, engines=(EngineName.OPENVINO,))
    assert "says the same of all" not in caplog.text

    def saturated(metrics):
        model = load_trained(metrics)
        with torch.no_grad():
            list(model.network.parameters())[-1].copy_(torch.tensor([1000.0, -1000.0]))
        return model

    monkeypatch.setattr("lamella.engines.parity.load_trained", saturated)
    compare(results, tmp_path, patches=3, engines=(EngineName.OPENVINO,))
    assert "the trained network says the same of all 3 patches" in caplog.text


def test_an_unavailable_engine_gets_a_row_that_says_why(results, tmp_path, tracked):
    output = compare(
        results, tmp_path, engines=(EngineName.OPENVINO,), device=Device.CUDA, patches=3
    )
    row = read_parity(output, EngineName.OPENVINO, Precision.F32)
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


def test_an_engine_that_fails_while_it_computes_is_unavailable_and_the_others_are_compared(
    results, tmp_path, tracked, monkeypatch
):
    def no_memory(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr(OpenVinoEngine, "_run", no_memory)
    rows = read_table(compare(results, tmp_path, patches=3))
    assert [row["verdict"] for row in rows] == ["valid", "valid", "unavailable"]
    assert rows[2]["reason"] == "it failed while it computed 3 at once (no room)"


def test_an_engine_that_was_not_compared_is_not_taken_for_valid(results, tmp_path, tracked):
    output = compare(results, tmp_path, engines=(EngineName.TORCH,), patches=3)
    with pytest.raises(StoreError, match=r"openvino in f32 was not compared.*parity.engines"):
        read_parity(output, EngineName.OPENVINO, Precision.F32)
    with pytest.raises(StoreError, match=r"torch in f16 was not compared.*parity.precisions"):
        read_parity(output, EngineName.TORCH, Precision.F16)


def test_patches_that_do_not_fit_are_refused(results, tmp_path, tracked):
    from lamella.patches.index import read_index, write_index

    folder = shutil.copytree(results.index.parent, tmp_path / "patches")
    index = replace(read_index(results.index), mpp=0.25)
    write_index(folder / "index.parquet", index)
    with pytest.raises(StoreError, match=r"48 px at 0.25 microns per pixel, the model takes"):
        compare(results, tmp_path, index=folder / "index.parquet")
