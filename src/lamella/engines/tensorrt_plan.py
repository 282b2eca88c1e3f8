"""TensorRT's plans, built from ONNX files; what both libraries of TensorRT share."""

import copy
from collections.abc import Sequence
from typing import Any

import onnx

from lamella.engines.settings import Precision


def error_log(library: Any) -> Any:
    """Return a log for TensorRT, whose ``errors`` are what it said went wrong.

    Its functions tell no reason: they return nothing.

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


class PlanBuilder:
    """A network that TensorRT has read, and how it shall be computed.

    It computes in the types of its numbers: TensorRT's "strong typing", all there is from 11 on.

    Attributes:
        network: The network, as TensorRT holds it.
        config: TensorRT's settings of the build.
    """

    def __init__(
        self, library: Any, model: onnx.ModelProto, *, batch_sizes: Sequence[int], tf32: bool
    ) -> None:
        """Read a network.

        Args:
            library: The module ``tensorrt`` or another of the same interface.
            model: The network with its weights, of which axis 0 alone may be free.
            batch_sizes: Rows that it will be asked for; it is tuned for each, and for fewer rows
                than one of them it works, too.
            tf32: Whether numbers of 32 bits may be computed in TF32.

        Raises:
            RuntimeError: TensorRT cannot read it, or another axis is free.
        """
        self._log = error_log(library)
        self._builder = library.Builder(self._log)
        typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self._builder.create_network(typed)
        self._parser = library.OnnxParser(self.network, self._log)
        if not self._parser.parse(_widened(model).SerializeToString()):
            raise RuntimeError(str(self._parser.get_error(0)))
        self.config = self._builder.create_builder_config()
        # TensorRT takes it unless it is told otherwise.
        if not tf32:
            self.config.clear_flag(library.BuilderFlag.TF32)
        for size in batch_sizes:
            self._add_profile(size)

    def build(self) -> bytes:
        """Return the plan.

        Raises:
            RuntimeError: TensorRT cannot build it.
        """
        plan = self._builder.build_serialized_network(self.network, self.config)
        if plan is None:
            raise RuntimeError(self._log.errors[0])
        return bytes(plan)

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


def in_precision(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return a network whose numbers have a precision; inputs and outputs keep their types.

    Args:
        model: A network of 32 bits.
        precision: f16; or another, for which it stays as it is.
    """
    if precision is not Precision.F16:
        return model
    # It is needed here alone.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: onnx.ModelProto = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
    return halved


def _widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network whose inputs of 8 bits become numbers of 32 bits before anything else.

    TensorRT takes inputs of type uint8 where that is the first thing that is done with them.
    """
    widened = copy.deepcopy(model)
    graph = widened.graph
    taken = {name for node in graph.node if node.op_type != "Cast" for name in node.input}
    narrow = {
        each.name: f"{each.name}_widened"
        for each in graph.input
        if each.name in taken and each.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    }
    for node in graph.node:
        node.input[:] = [narrow.get(name, name) for name in node.input]
    for place, (name, wide) in enumerate(narrow.items()):
        cast = onnx.helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.INT32)
        graph.node.insert(place, cast)
    # What it says of the values between is of the narrow ones.
    del graph.value_info[:]
    return widened
