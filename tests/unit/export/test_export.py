import hashlib
import json
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from lamella.errors import ExportError
from lamella.export.description import ModelFormat
from lamella.export.export import export_model
from lamella.export.onnx_file import write_onnx
from lamella.export.program import example_patches, trace_program, write_program
from lamella.export.settings import ExportSettings
from lamella.tracking.record import check_files
from lamella.tracking.settings import TrackingSettings


@pytest.fixture(scope="module")
def second(results, tmp_path_factory):
    """The same run exported again, and what was tracked."""
    folder = tmp_path_factory.mktemp("again") / "another" / "place"
    tracked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamella.export.export.track", lambda *call: tracked.append(call))
        export_model(
            metrics=tuple(reversed(results.metrics)),
            folder=folder,
            run="tiny",
            formats=(ModelFormat.ONNX, ModelFormat.TORCH),
            settings=ExportSettings(),
            tracking=TrackingSettings(alias="newest"),
        )
    return folder, tracked


def described(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def test_the_description_says_how_to_run_the_onnx_model(results):
    assert {
        key: value
        for key, value in described(results.export_folder / "onnx").items()
        if key not in ("digest", "lamella_version", "torch_version")
    } == {
        "format": "onnx",
        "file": "model.onnx",
        "files": [],
        "failure": "",
        "opset": 18,
        "inputs": [
            {"name": "patches", "dtype": "uint8", "shape": [-1, 48, 48, 3], "layout": "NHWC"}
        ],
        "outputs": [
            {"name": "probabilities", "dtype": "float32", "shape": [-1, 2], "layout": "NC"}
        ],
        "kind": "classes",
        "classes": ["normal", "tumor"],
        "means": [],
        "deviations": [],
        "patch_px": 48,
        "mpp": 0.5,
        "origin": {
            "run": "tiny",
            "seed": 2,
            "metrics": "../../../train/tiny/seed2/metrics.json",
            "metric": "auc",
            "value": 0.875,
            "index_digest": "d1" * 32,
        },
    }


@pytest.mark.parametrize("file", ["onnx/model.onnx", "torch/model.pt2"])
def test_the_digest_is_that_of_the_model_file(results, file):
    path = results.export_folder / file
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert described(path.parent)["digest"] == expected


@pytest.mark.parametrize("file", ["onnx/model.onnx", "torch/model.pt2", "onnx/input_example.npy"])
def test_two_exports_of_one_network_are_byte_identical(results, second, file):
    assert (second[0] / file).read_bytes() == (results.export_folder / file).read_bytes()


@pytest.mark.parametrize("file", ["onnx/model.onnx", "torch/model.pt2"])
def test_no_path_of_this_machine_is_in_the_file(results, file):
    content = (results.export_folder / file).read_bytes()
    places = [str(Path(torch.__file__).parent.parent), str(Path(__file__).parents[3]), sys.prefix]
    assert [place for place in places if place.encode() in content] == []


def test_the_onnx_graph_takes_any_number_of_uint8_patches(results):
    graph = onnx.load(results.export_folder / "onnx" / "model.onnx").graph
    assert [onnx.helper.printable_value_info(value) for value in graph.input] == [
        "%patches[UINT8, batchx48x48x3]"
    ]
    assert [onnx.helper.printable_value_info(value) for value in graph.output] == [
        "%probabilities[FLOAT, batchx2]"
    ]


def test_the_export_is_tracked_with_signature_example_name_and_alias(second):
    folder, [(record, where, _)] = second
    assert (record.kind, where) == ("export", folder)
    assert record.model.name == "tiny"
    assert record.model.alias == "newest"
    assert record.model.inputs[0].shape == (-1, 48, 48, 3)
    assert record.model.outputs[0].dtype == "float32"
    assert [(metric.key, metric.value) for metric in record.metrics] == [("validation_auc", 0.875)]
    check_files(record, folder)


class _LooksAtValues(nn.Module):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        means = patches.float().mean(dim=(1, 2))
        return means if bool((means > 0).all()) else means * 2


class _FixedToTwoPatches(nn.Module):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.float().reshape(2, -1)


@pytest.mark.parametrize("network", [_LooksAtValues(), _FixedToTwoPatches()])
def test_a_network_that_cannot_be_traced_is_refused(network):
    with pytest.raises(ExportError, match=r"torch.export cannot trace the network"):
        trace_program(network, (example_patches(8),))


class _Complex(nn.Module):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(patches.float().mean(dim=3)).Q.mean(dim=2)


def test_an_operator_that_onnx_lacks_is_refused_and_leaves_no_file(tmp_path):
    program = trace_program(_Complex(), (example_patches(8),))
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match="cannot be written as ONNX"):
        write_onnx(path, program, opset=18, inputs=["patches"], outputs=["probabilities"])
    assert list(tmp_path.iterdir()) == []


def test_a_program_can_be_written_and_run_again(tmp_path):
    class Mean(nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            return patches.float().mean(dim=(1, 2))

    write_program(tmp_path / "model.pt2", trace_program(Mean(), (example_patches(4),)))
    module = torch.export.load(tmp_path / "model.pt2").module()
    patches = torch.arange(5 * 4 * 4 * 3, dtype=torch.uint8).reshape(5, 4, 4, 3)
    assert module(patches)[0].tolist() == [22.5, 23.5, 24.5]
