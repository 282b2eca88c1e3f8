"""TensorRT's plans, built from ONNX files; what both libraries of TensorRT share."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import onnx

from lamella.engines.settings import Precision

REVISION = 2
"""Raised where equal networks shall get other plans than those that are kept."""


_NOT_TAKEN = (onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.UINT16)


def error_log(library: Any) -> Any:
    """Return a log for TensorRT, whose ``errors`` are what it said went wrong.

    Its functions tell no reason: they return nothing. Ask them by ``asked``.

    Args:
        library: The module ``tensorrt`` or another of the same interface.
    """

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= library.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Log()


def asked(log: Any, function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function of TensorRT gives.

    Raises:
        RuntimeError: it gives nothing, or false; with the first that TensorRT said about it.
    """
    log.errors.clear()
    given = function(*arguments)
    if not given:
        raise RuntimeError(log.errors[0] if log.errors else "TensorRT gives no reason")
    return given


class PlanBuilder:
    """A network that TensorRT has read, and how it shall be computed.

    It computes in the types of its numbers: TensorRT's "strong typing", all there is from 11 on.

    Attributes:
        network: The network, as TensorRT holds it.
        config: TensorRT's settings of the build.
    """

    def __init__(
        self,
        library: Any,
        model: onnx.ModelProto,
        *,
        batch_sizes: Sequence[int],
        tf32: bool,
        capability: tuple[int, int],
    ) -> None:
        """Read a network.

        Args:
            library: The module ``tensorrt`` or another of the same interface.
            model: What ``prepared`` returns; axis 0 of its inputs alone may be free.
            batch_sizes: Rows that it will be asked for; it is tuned for each, and for fewer rows
                than one of them it works, too.
            tf32: Whether numbers of 32 bits may be computed in TF32.
            capability: Compute capability of the GPU, which needs to be the one of this machine
                but for TensorRT for RTX.

        Raises:
            RuntimeError: TensorRT cannot read it, or another axis is free.
        """
        self._log = error_log(library)
        self._builder = library.Builder(self._log)
        typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self._builder.create_network(typed)
        self._parser = library.OnnxParser(self.network, self._log)
        if not self._parser.parse(model.SerializeToString()):
            raise RuntimeError(str(self._parser.get_error(0)))
        self.config = self._builder.create_builder_config()
        # TensorRT takes it unless it is told otherwise.
        if not tf32:
            self.config.clear_flag(library.BuilderFlag.TF32)
        if hasattr(library, "ComputeCapability"):
            # Unless it is told, plans are for GPUs from 8.0 on.
            chosen = getattr(library.ComputeCapability, "SM{}{}".format(*capability))
            self.config.num_compute_capabilities = 1
            self.config.set_compute_capability(chosen, 0)
        for size in batch_sizes:
            self._add_profile(size)

    def build(self) -> bytes:
        """Return the plan.

        Raises:
            RuntimeError: TensorRT cannot build it.
        """
        build = self._builder.build_serialized_network
        return bytes(asked(self._log, build, self.network, self.config))

    def _add_profile(self, size: int) -> None:
        """Tell TensorRT to tune the free axes for a number of rows."""
        profile = self._builder.create_optimization_profile()
        inputs = [self.network.get_input(index) for index in range(self.network.num_inputs)]
        free = [each for each in inputs if -1 in each.shape]
        for each in free:
            _, *lengths = each.shape
            if -1 in lengths:
                raise RuntimeError(f"the input {each.name} has free axes beside the first")
            profile.set_shape(each.name, [1, *lengths], [size, *lengths], [size, *lengths])
        if free:
            self.config.add_optimization_profile(profile)


def prepared(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return a network as TensorRT takes it, with numbers of a precision.

    Args:
        model: A network of 32 bits.
        precision: f16; or another, for which its numbers stay as they are. Inputs and outputs do in
            any case, but for integers of 16 bits and signed ones of 8, which TensorRT does not
            take: those of inputs get 32 bits.

    Raises:
        ValueError: it cannot be rewritten.
    """
    network = copy.deepcopy(model)
    if precision is Precision.F16:
        # It is needed here alone.
        from onnxruntime.transformers.float16 import convert_float_to_float16

        network = convert_float_to_float16(network, keep_io_types=True)
    _lengthen(network)
    _widen(network)
    return network


def _lengthen(model: onnx.ModelProto) -> None:
    """Let inputs be integers of 32 bits where they are others that TensorRT does not take."""
    for each in model.graph.input:
        if each.type.tensor_type.elem_type in _NOT_TAKEN:
            each.type.tensor_type.elem_type = onnx.TensorProto.INT32


def _widen(model: onnx.ModelProto) -> None:
    """Make integers of 32 bits of inputs of 8 bits, but for what makes fractions of them.

    TensorRT takes inputs of type uint8 where they become fractions before anything else.
    """
    graph = model.graph
    users = [node for node in graph.node if not _makes_fractions(node)]
    taken = {name for node in users for name in node.input}
    narrow = [
        each.name
        for each in graph.input
        if each.name in taken and each.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    ]
    for node in users:
        node.input[:] = [f"{name}_widened" if name in narrow else name for name in node.input]
    for name in narrow:
        for kind, before, after in (
            (onnx.TensorProto.INT32, f"{name}_exact", f"{name}_widened"),
            (onnx.TensorProto.FLOAT, name, f"{name}_exact"),
        ):
            graph.node.insert(0, onnx.helper.make_node("Cast", [before], [after], to=kind))
    if narrow:
        # What it says of the values between is of the narrow ones.
        del graph.value_info[:]


def _makes_fractions(node: onnx.NodeProto) -> bool:
    fractions = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return node.op_type == "Cast" and any(
        each.name == "to" and each.i in fractions for each in node.attribute
    )
