"""torch runs what ``torch.export`` wrote, as it is or compiled; the one module that runs it."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils._pytree import tree_leaves

from lamella.engines.engine import Arrays, CheckedEngine, first_line, gpu_lacks
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.export.torchscript import torch_jit_unheard
from lamella.settings import Device
from lamella.training.compile_cache import keep_compiled_code_apart

_HALVES = {Precision.BF16: torch.bfloat16, Precision.F16: torch.float16}

_aten = torch.ops.aten
_IN_HALVES = {
    *(_aten.conv1d, _aten.conv2d, _aten.conv3d),
    *(_aten.conv_transpose1d, _aten.conv_transpose2d, _aten.conv_transpose3d),
    *(_aten.linear, _aten.matmul, _aten.mm, _aten.addmm),
}
"""Operations on weights that ``torch.autocast`` computes in 16 bits on CPUs as on GPUs."""


class TorchEngine(CheckedEngine):
    """A ``.pt2`` program.

    Number of threads and arithmetic are torch's own, for the whole process: the engine sets them at
    every call. In 16 bits torch chooses what to compute in them (``torch.autocast``).
    """

    name = EngineName.TORCH
    load_errors = (RuntimeError, ValueError, OSError, BadZipFile)
    # A program names its outputs after operations, TorchScript names none.
    by_name = False

    def _load(self, path: Path) -> None:
        self._set_up()
        self._module: Callable[..., Any] = self._read(path)

    def _read(self, path: Path) -> torch.nn.Module:
        """Return what a file holds, on the device."""
        program = _program(path)
        if self.device is Device.CUDA:
            # Compiling compares devices by their numbers.
            program = move_to_device_pass(program, f"{self.device}:0")
        self._signature = _signature(program, path)
        module = program.module()
        if self.precision in _HALVES:
            _halve_weights(module, _HALVES[self.precision])
        return module

    def _detect(self, path: Path) -> ModelInterface:
        return self._signature

    def _set_up(self) -> None:
        # On GPUs, torch's convolutions have 10 bits of mantissa (TF32) unless told otherwise.
        torch.backends.cudnn.allow_tf32 = self.precision is Precision.TF32
        torch.backends.cuda.matmul.allow_tf32 = self.precision is Precision.TF32
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.precision not in _HALVES:
            return nullcontext()
        return torch.autocast(self.device.value, dtype=_HALVES[self.precision])

    def _run(self, inputs: Arrays) -> Arrays:
        self._set_up()
        # torch warns about arrays that it could write to but must not.
        batch = [torch.from_numpy(np.require(each, requirements="W")) for each in inputs]
        with torch.inference_mode(), self._arithmetic():
            found = self._module(*(each.to(self.device.value) for each in batch))
        outputs = tree_leaves(found)
        # numpy has no bfloat16.
        half = _HALVES.get(self.precision)
        return tuple(
            (output.float() if output.dtype is half else output).cpu().numpy() for output in outputs
        )

    @classmethod
    def version(cls, device: Device) -> str:
        """Return torch's version; see ``CheckedEngine``."""
        why = _why_no_gpu() if device is Device.CUDA else ""
        if why:
            raise EngineUnavailableError(
                f"torch cannot use a GPU ({why})",
                f"{cls.name} on {device}",
                "Choose the device `cpu`, or run on a node with an NVIDIA GPU that torch knows",
            )
        return str(torch.__version__)

    @classmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return what this CPU or GPU does not compute in; see ``CheckedEngine``."""
        if device is Device.CUDA:
            return gpu_lacks(precision, torch.cuda.get_device_capability())
        # torch's own names. It computes nevertheless, operation by operation and 10 times slower.
        onednn = torch.ops.mkldnn
        has = {
            Precision.BF16: onednn._is_mkldnn_bf16_supported,
            Precision.F16: onednn._is_mkldnn_fp16_supported,
        }
        return "" if has[precision]() else f"oneDNN does not compute in {precision} on this CPU"


class CompiledTorchEngine(TorchEngine):
    """The same program, compiled for this machine when it is loaded; it needs a C++ compiler.

    It is compiled for the batch sizes that are asked for, and again at the first call with a number
    of rows that torch would compute in another way. On GPUs the kernels for a number of rows are
    recorded at the second call with it and started as one from then on (CUDA graphs).
    """

    name = EngineName.TORCH_COMPILED

    @classmethod
    def version(cls, device: Device) -> str:
        """Return torch's version where it can compile; see ``CheckedEngine``."""
        version = super().version(device)
        why = _why_no_triton() if device is Device.CUDA else _why_no_compiler()
        if why:
            raise EngineUnavailableError(
                f"torch cannot compile ({why})",
                f"{cls.name} on {device}",
                "Install what is missing, or choose the engine `torch`",
            )
        return version

    def _warm_up(self) -> None:
        keep_compiled_code_apart()
        with torch_jit_unheard(), self._building():
            # On CPUs there is nothing to record.
            records = self.device is Device.CUDA
            mode = "reduce-overhead" if records else "default"
            self._module = torch.compile(self._module, dynamic=True, mode=mode)
            # Now, so that it is part of the loading and fails there.
            for size in self.batch_sizes:
                # A size that does not fit fails at its own call, and the others are there.
                with suppress(torch.OutOfMemoryError):
                    for _ in range(2 if records else 1):
                        self._run(tuple(_zeros(size, each) for each in self.interface.inputs))


def _program(path: Path) -> ExportedProgram:
    """Return the program of a file.

    Raises:
        RuntimeError: it cannot be read.
    """
    try:
        return torch.export.load(path)
    except RuntimeError as error:
        # It is needed here alone, and takes a second.
        from torch.export.pt2_archive import is_pt2_package

        if is_pt2_package(str(path)):
            raise
        # torch says why on stderr alone.
        raise RuntimeError("it is no program of torch.export, or of another version") from error


def _halve_weights(module: Any, half: torch.dtype) -> None:
    """Cast the weights that ``torch.autocast`` would cast again at every call."""
    users: dict[str, set[Any]] = defaultdict(set)
    for node in module.graph.find_nodes(op="get_attr"):
        users[node.target] |= {getattr(user.target, "overloadpacket", None) for user in node.users}
    for name, operations in users.items():
        if operations and operations <= _IN_HALVES:
            weight = attrgetter(name)(module)
            # Of 64 bits it casts none.
            if weight.dtype is torch.float32:
                weight.data = weight.data.to(half)


def _zeros(rows: int, tensor: TensorDescription) -> NDArray[Any]:
    fixed, *others = tensor.shape
    # A free length of 1 would be taken for a fixed one.
    lengths = (2 if length < 0 else length for length in others)
    return np.zeros([rows if fixed < 0 else fixed, *lengths], dtype=tensor.dtype)


def _why_no_compiler() -> str:
    """Return why torch cannot compile for the CPU; empty where it can."""
    # What compiles is imported by who compiles, for it takes a second.
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except (RuntimeError, OSError) as error:
        return first_line(error)
    return ""


def _why_no_triton() -> str:
    """Return why torch cannot compile for the GPU; empty where it can."""
    return "" if find_spec("triton") else "there is no triton"


def _why_no_gpu() -> str:
    """Return why torch cannot compute on the first GPU; empty where it can."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    major, minor = torch.cuda.get_device_capability()
    oldest = min(int("".join(filter(str.isdigit, each))) for each in torch.cuda.get_arch_list())
    if 10 * major + minor >= oldest:
        return ""
    return f"it is of compute capability {major}.{minor}, this build begins at {oldest / 10}"


def _signature(program: ExportedProgram, path: Path) -> ModelInterface:
    """Return what a program says of its inputs and outputs."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    for name in (*signature.user_inputs, *signature.user_outputs):
        if not isinstance(values.get(str(name)), torch.Tensor):
            raise StoreError(
                f"it takes or gives {name}, which is no tensor",
                str(path),
                "Export the network with tensors alone",
            )
    return ModelInterface(
        inputs=tuple(_tensor(str(name), values[str(name)]) for name in signature.user_inputs),
        outputs=tuple(_tensor(str(name), values[str(name)]) for name in signature.user_outputs),
    )


def _tensor(name: str, value: Any) -> TensorDescription:
    """Return an input or output of a program, whose free lengths are symbols."""
    return TensorDescription(
        name=name,
        dtype=str(value.dtype).removeprefix("torch."),
        shape=tuple(length if isinstance(length, int) else -1 for length in value.shape),
        layout="",
    )
