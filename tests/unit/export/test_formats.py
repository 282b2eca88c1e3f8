"""One format that cannot be written leaves the others, and says why."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lamella.engines.load import load_engine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError, ExportError, UnwritableFormatError
from lamella.export.description import ModelFormat, read_description
from lamella.export.export import export_model
from lamella.export.formats import write_formats
from lamella.export.program import example_patches, trace_program
from lamella.export.settings import ExportSettings
from lamella.export.torchscript import write_torchscript
from lamella.tracking.settings import TrackingSettings


class _Determinant(nn.Module):
    """ONNX has it, OpenVINO does not."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(patches.float().mean(dim=3)).unsqueeze(1)


class _Either(nn.Module):
    """torch.export has it, TorchScript does not."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        means = patches.float().mean(dim=(1, 2))
        return torch.cond(means.sum() > 0, lambda x: x + 1, lambda x: x * 2, (means,))


def refuses(path: Path) -> None:
    raise UnwritableFormatError("no environment", str(path), "Make it")


def test_formats_that_cannot_be_written_are_told_and_leave_nothing(tmp_path: Path, caplog) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "model.xml").write_text("of another network")
    failures = write_formats(
        tmp_path,
        trace_program(_Determinant(), (example_patches(8),)),
        tuple(ModelFormat),
        opset=18,
        inputs=["patches"],
        outputs=["determinants"],
        saved_model=refuses,
    )
    assert failures.pop(ModelFormat.TENSORFLOW) == "no environment"
    ((stored, why),) = failures.items()
    assert stored is ModelFormat.OPENVINO
    assert "No conversion rule found for operations: Det" in why
    # It is logged, and what comes after it would be, too.
    assert caplog.text.count("not written for ") == 2
    written = {each.parent.name for each in tmp_path.glob("*/*")}
    assert written == {ModelFormat.ONNX, ModelFormat.TORCH, ModelFormat.TORCHSCRIPT}


def test_what_torchscript_lacks_is_told(tmp_path: Path) -> None:
    program = trace_program(_Either(), (example_patches(8),))
    with pytest.raises(UnwritableFormatError, match=r"written as TorchScript \(.*cond"):
        write_torchscript(tmp_path / "model.ts", program)


@pytest.mark.parametrize(
    ("python", "why"), [("#!/bin/sh\nkill -9 $$", "by signal 9"), (None, "cannot be used")]
)
def test_what_may_go_well_the_next_time_ends_the_export(tmp_path: Path, python, why) -> None:
    if python:
        (tmp_path / "python").write_text(python)
        (tmp_path / "python").chmod(0o755)
    (tmp_path / "onnx2tf.txt").write_text(f"{tmp_path / 'python'}\n")
    with pytest.raises(ExportError, match=why):
        write_formats(
            tmp_path,
            trace_program(_Determinant(), (example_patches(8),)),
            [ModelFormat.TENSORFLOW],
            opset=18,
            inputs=["patches"],
            outputs=["determinants"],
            onnx2tf=[tmp_path / "onnx2tf.txt"],
        )


def test_an_engine_whose_format_could_not_be_written_is_unavailable(
    results, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("lamella.export.export.track", lambda *_: None)
    (tmp_path / "onnx2tf.txt").touch()
    export_model(
        metrics=results.metrics,
        folder=tmp_path,
        run="tiny",
        formats=(ModelFormat.ONNX, ModelFormat.TORCH, ModelFormat.TENSORFLOW),
        settings=ExportSettings(),
        tracking=TrackingSettings(),
        onnx2tf=[tmp_path / "onnx2tf.txt"],
    )
    assert read_description(tmp_path / "onnx").failure == ""
    with pytest.raises(EngineUnavailableError) as raised:
        load_engine(EngineName.TENSORFLOW, tmp_path, threads=1)
    assert "onnx2tf's environment could not be made" in raised.value.what
    load_engine(EngineName.ONNXRUNTIME, tmp_path, threads=1)
