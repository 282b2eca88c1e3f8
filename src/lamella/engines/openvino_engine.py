"""OpenVINO; the one module that talks to it."""

import ctypes
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openvino

from lamella.engines.engine import Arrays, CheckedEngine
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device

_log = logging.getLogger(__name__)
_CPU = "CPU"

_CAPABILITIES = {Precision.BF16: "BF16", Precision.F16: "FP16"}
"""Precisions by OpenVINO's names."""


class OpenVinoEngine(CheckedEngine):
    """A model in OpenVINO's own format.

    The precision is said to OpenVINO explicitly: on CPUs with bfloat16 instructions it computes
    in bfloat16 otherwise, and probabilities differ visibly from those of the trained network.
    """

    name = EngineName.OPENVINO
    load_errors = (RuntimeError,)

    def _load(self, path: Path) -> None:
        with signal_stack_kept():
            core = openvino.Core()
            settings = cpu_settings(self.threads, self.precision)
            network = core.read_model(path)
            with self._building():
                model = core.compile_model(network, _CPU, settings)
        taken = model.get_property("INFERENCE_NUM_THREADS")
        if taken != self.threads:
            _log.warning("OpenVINO computes with %d threads, not %d", taken, self.threads)
        self._request = model.create_infer_request()

    def _warm_up(self) -> None:
        model = self._request.get_compiled_model()
        self._inputs = [model.input(each.name) for each in self.interface.inputs]
        self._outputs = [model.output(each.name) for each in self.interface.outputs]

    def _run(self, inputs: Arrays) -> Arrays:
        feed = dict(zip(self._inputs, inputs, strict=True))
        # Shared outputs would be overwritten by the next call.
        found = self._request.infer(feed, share_inputs=True, share_outputs=False)
        return tuple(found[port] for port in self._outputs)

    def _detect(self, path: Path) -> ModelInterface:
        model = self._request.get_compiled_model()
        return ModelInterface(
            inputs=tuple(_tensor(port) for port in model.inputs),
            outputs=tuple(_tensor(port) for port in model.outputs),
        )

    def _check_given(self, given: ModelInterface, path: Path) -> None:
        """Refuse another interface than the file's; see ``CheckedEngine``.

        Any name of an input or output may be given.
        """
        model = self._request.get_compiled_model()
        named = ModelInterface(
            inputs=tuple(_named(each, model.inputs) for each in given.inputs),
            outputs=tuple(_named(each, model.outputs) for each in given.outputs),
        )
        super()._check_given(named, path)

    @classmethod
    def version(cls, device: Device) -> str:
        """Return OpenVINO's version; see ``CheckedEngine``."""
        check_device(device)
        # What follows names the commit and the branch.
        return str(openvino.__version__).partition("-")[0]

    @classmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return what this CPU has no instructions for; see ``CheckedEngine``.

        OpenVINO would take another precision in silence, bf16 for f16.
        """
        if _CAPABILITIES[precision] in cpu_capabilities():
            return ""
        return f"this CPU has no instructions for {precision}"


def _named(tensor: TensorDescription, ports: Sequence[Any]) -> TensorDescription:
    """Return a tensor by the name that is detected, where a port has the one that it goes by."""
    names = (_name(port) for port in ports if tensor.name in port.names)
    return tensor.model_copy(update={"name": next(names, tensor.name)})


def _name(port: Any) -> str:
    # A port has the names of what is passed on unchanged, too; its node has that of the network's
    # input or output.
    own = str(port.get_node().get_friendly_name()).partition("/sink_port_")[0]
    return own if own in port.names else str(port.any_name)


def _tensor(port: Any) -> TensorDescription:
    return TensorDescription(
        name=_name(port),
        dtype=port.element_type.to_dtype().name,
        shape=tuple(-1 if axis.is_dynamic else axis.get_length() for axis in port.partial_shape),
        layout="",
    )


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux: sigaltstack(2)."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give the thread back the stack that its signal handlers run on.

    OpenVINO's CPU plugin sets one of its own when it is loaded, and frees it with the last model
    while it is still set: the next signal that Python handles, such as Ctrl-C, would end the
    process by SIGSEGV.
    """
    libc = ctypes.CDLL(None)
    before = _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def cpu_capabilities() -> list[str]:
    """Return what OpenVINO makes use of in this CPU, such as ``BF16``."""
    with signal_stack_kept():
        found: list[str] = openvino.Core().get_property(_CPU, "OPTIMIZATION_CAPABILITIES")
    return found


def cpu_settings(threads: int, precision: Precision) -> dict[str, object]:
    """Return the properties that a model is compiled with.

    One stream, so that ``threads`` work on one batch; no pinning to cores, which the other engines
    do not do either. Two threads may share a core, as theirs may: OpenVINO would take fewer threads
    than it is asked for.
    """
    return {
        "INFERENCE_PRECISION_HINT": precision.value,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }


def check_device(device: Device) -> None:
    """Refuse devices that OpenVINO does not have.

    Raises:
        EngineUnavailableError: the device is not the CPU.
    """
    if device is not Device.CPU:
        raise EngineUnavailableError(
            "OpenVINO does not run on NVIDIA GPUs",
            f"{EngineName.OPENVINO} on {device}",
            "Choose the device `cpu` for this engine",
        )
