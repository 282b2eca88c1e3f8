import hashlib
import shutil
import subprocess

import pytest

from lamella.errors import StoreError
from lamella.export.description import open_model, read_description


def test_a_damaged_model_file_is_refused(results, tmp_path):
    folder = shutil.copytree(results.export_folder / "onnx", tmp_path / "onnx")
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"model.onnx: the model file is damaged"):
        open_model(folder)


def test_a_missing_model_file_is_refused(results, tmp_path):
    folder = shutil.copytree(results.export_folder / "torch", tmp_path / "torch")
    (folder / "model.pt2").unlink()
    with pytest.raises(StoreError, match=r"model.pt2: the model file is missing"):
        open_model(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"not JSON"])
def test_a_description_of_another_layout_is_refused(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"model.json: the description of the model"):
        read_description(tmp_path)


def test_an_intact_model_opens(results):
    path, description = open_model(results.export_folder / "onnx")
    assert path.name == "model.onnx"
    assert description == read_description(results.export_folder / "onnx")


@pytest.mark.parametrize("part", ["openvino/model.bin", "tensorflow/saved_model/saved_model.pb"])
def test_every_file_of_a_model_counts(results, tmp_path, part):
    folder = shutil.copytree(results.export_folder, tmp_path / "tiny")
    path = folder / part
    stored = part.partition("/")[0]
    assert len(read_description(folder / stored).files) > 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="the model file is damaged"):
        open_model(folder / stored)
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path.name}: the model file is missing"):
        open_model(folder / stored)


def test_digest_of_several_files_is_that_of_what_sha256sum_prints(results):
    folder = results.export_folder / "openvino"
    files = ["model.bin", "model.xml"]
    listed = subprocess.run(["sha256sum", *files], cwd=folder, stdout=subprocess.PIPE, check=True)
    expected = hashlib.sha256(listed.stdout).hexdigest()
    assert read_description(folder).digest == expected
