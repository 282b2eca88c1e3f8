"""What TensorRT's engines share: a plan, kept beside the model, that runs on the GPU."""

import hashlib
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from lamella.engines.engine import Arrays, CheckedEngine, gpu_lacks
from lamella.engines.gpu import Gpu, GpuQueue, first_gpu
from lamella.engines.settings import Precision
from lamella.engines.tensorrt_plan import REVISION, PlanBuilder, asked, error_log, prepared
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device
from lamella.stores.atomic import replacing

logger = logging.getLogger(__name__)


class PlanEngine(CheckedEngine):
    """An ``.onnx`` model that TensorRT has built a plan of: for a GPU, a precision, batch sizes."""

    # A type that numpy does not have, or no object at all, is a TypeError of its Python interface.
    load_errors = (
        *(RuntimeError, TypeError, OSError, ValueError, DecodeError, EncodeError),
        *(ValidationError, InferenceError),
    )
    library: ClassVar[Any]
    """The module of TensorRT."""

    def _load(self, path: Path) -> None:
        self._log = error_log(self.library)
        self._runtime = self.library.Runtime(self._log)
        # Weights that lie in files of their own are read, too.
        model, gpu = prepared(onnx.load(path), self.precision), first_gpu()
        kept = path.parent / "plans" / self._plan_name(model, gpu)
        plan = self._read(kept.read_bytes()) if kept.exists() else None
        self._plan = plan or self._build(model, gpu, kept)
        self._queue = GpuQueue()

    def _build(self, model: onnx.ModelProto, gpu: Gpu, kept: Path) -> Any:
        """Build a plan and keep it."""
        logger.info("%s builds %s", self.name, kept)
        builder = PlanBuilder(
            self.library,
            model,
            batch_sizes=self.batch_sizes,
            tf32=self.precision is Precision.TF32,
            capability=gpu.capability,
        )
        with self._building():
            built = builder.build()
        try:
            with replacing(kept) as temporary:
                temporary.write_bytes(built)
        except OSError as error:
            logger.warning("the plan is not kept and will be built again: %s", error)
        return asked(self._log, self._read, built)

    def _read(self, plan: bytes) -> Any:
        return self._runtime.deserialize_cuda_engine(plan)

    def _plan_name(self, model: onnx.ModelProto, gpu: Gpu) -> str:
        """Return the name of a plan, which holds all that it depends on."""
        content = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        parts = (
            *(self.name, self.library.__version__, gpu.name, "sm{}.{}".format(*gpu.capability)),
            *(self.precision, "-".join(map(str, self.batch_sizes)), f"r{REVISION}", content[:16]),
        )
        return "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts) + ".plan"

    def _detect(self, path: Path) -> ModelInterface:
        return self._tensors()

    def _check_given(self, given: ModelInterface, path: Path) -> None:
        """Refuse another interface than the plan's; see ``CheckedEngine``.

        Integers of an input may be shorter, for a network may be given some that no plan takes.
        """
        plan = {each.name: each.dtype for each in self._tensors().inputs}
        taken = tuple(
            each.model_copy(update={"dtype": plan[each.name]})
            if _fits(each.dtype, plan.get(each.name, each.dtype))
            else each
            for each in given.inputs
        )
        super()._check_given(given.model_copy(update={"inputs": taken}), path)

    def _tensors(self) -> ModelInterface:
        """Return what the plan says of its inputs and outputs."""
        names = [self._plan.get_tensor_name(i) for i in range(self._plan.num_io_tensors)]
        into = self.library.TensorIOMode.INPUT
        given = [name for name in names if self._plan.get_tensor_mode(name) == into]
        return ModelInterface(
            inputs=tuple(self._tensor(name) for name in given),
            outputs=tuple(self._tensor(name) for name in names if name not in given),
        )

    def _tensor(self, name: str) -> TensorDescription:
        kind = self.library.nptype(self._plan.get_tensor_dtype(name))
        shape = tuple(self._plan.get_tensor_shape(name))
        return TensorDescription(name=name, dtype=np.dtype(kind).name, shape=shape, layout="")

    def _warm_up(self) -> None:
        """Take the memory that inputs, outputs and the work on them need."""
        found = self._tensors()
        _check_rows(self.interface.inputs, found.inputs)
        self._types = {each.name: each.dtype for each in found.inputs}
        rows = found.inputs[0].shape[0]
        sizes = self.batch_sizes if rows < 0 else (rows,)
        # Changing the profile of a context would wait for the GPU.
        self._contexts = {size: self._context(number) for number, size in enumerate(sizes)}
        largest = self._contexts[max(sizes)]
        self._set_rows(largest, max(sizes))
        tensors = (*found.inputs, *found.outputs)
        # All of the plan's, those that nobody asked for, too.
        self._addresses = {each.name: self._allocated(largest, each) for each in tensors}
        for context in self._contexts.values():
            for name, address in self._addresses.items():
                asked(self._log, context.set_tensor_address, name, address)

    def _allocated(self, context: Any, tensor: TensorDescription) -> int:
        shape = tuple(context.get_tensor_shape(tensor.name))
        location = self._plan.get_tensor_location(tensor.name)
        if min(shape, default=1) < 0 or location != self.library.TensorLocation.DEVICE:
            raise RuntimeError(f"the lengths of {tensor.name} depend on what it is given")
        return self._queue.allocate(math.prod(shape) * np.dtype(tensor.dtype).itemsize)

    def _new_context(self) -> Any:
        # Else each context has the memory that the largest batch size needs.
        strategy = self.library.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        return self._plan.create_execution_context(strategy)

    def _context(self, profile: int) -> Any:
        context = asked(self._log, self._new_context)
        choose = context.set_optimization_profile_async
        asked(self._log, choose, profile, self._queue.handle)
        return context

    def _set_rows(self, context: Any, rows: int) -> None:
        for each in self.interface.inputs:
            asked(self._log, context.set_input_shape, each.name, (rows, *each.shape[1:]))

    def _run(self, inputs: Arrays) -> Arrays:
        largest = max(self._contexts)
        if len(inputs[0]) <= largest:
            return self._run_part(inputs)
        parts = (
            tuple(each[start : start + largest] for each in inputs)
            for start in range(0, len(inputs[0]), largest)
        )
        return self._joined(parts, self._run_part)

    def _run_part(self, inputs: Arrays) -> Arrays:
        rows = len(inputs[0])
        context = self._contexts[min(size for size in self._contexts if size >= rows)]
        self._set_rows(context, rows)
        # Volumes have 16 bits, of which a plan makes 32. They stay until the GPU has them.
        taken = {
            each.name: np.ascontiguousarray(array, dtype=self._types[each.name])
            for each, array in zip(self.interface.inputs, inputs, strict=True)
        }
        for name, array in taken.items():
            self._queue.upload(array, self._addresses[name])
        asked(self._log, context.execute_async_v3, self._queue.handle)
        outputs = tuple(
            self._queue.download(
                self._addresses[each.name], tuple(context.get_tensor_shape(each.name)), each.dtype
            )
            for each in self.interface.outputs
        )
        self._queue.wait()
        return outputs

    @classmethod
    def version(cls, device: Device) -> str:
        """Return TensorRT's version; see ``CheckedEngine``."""
        if device is not Device.CUDA:
            raise cls._unavailable(device, "TensorRT computes on NVIDIA GPUs alone")
        version = str(cls.library.__version__)
        if not hasattr(cls.library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
            why = f"TensorRT {version} is older than 10, the first that Lamella takes"
            raise cls._unavailable(device, why)
        try:
            first_gpu()
        except RuntimeError as error:
            raise cls._unavailable(device, f"TensorRT cannot use a GPU ({error})") from error
        return version

    @classmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return what the GPU or Lamella's networks for TensorRT do not have."""
        if precision is Precision.BF16:
            return "Lamella gives TensorRT networks of f32, tf32 and f16"
        return gpu_lacks(precision, first_gpu().capability)

    @classmethod
    def _unavailable(cls, device: Device, why: str) -> EngineUnavailableError:
        return EngineUnavailableError(
            why,
            f"{cls.name} on {device}",
            "Choose another engine, or run on a node with an NVIDIA GPU",
        )


def _check_rows(given: Sequence[TensorDescription], found: Sequence[TensorDescription]) -> None:
    """Refuse numbers of rows that are not the plan's: its memory is made for them.

    Raises:
        RuntimeError: a number is fixed where the other is free.
    """
    shapes = {each.name: each.shape for each in found}
    for each in given:
        shape = shapes[each.name]
        if each.shape[0] != shape[0]:
            raise RuntimeError(f"its {each.name} is of shape {shape}, not {each.shape}")


def _fits(given: str, plan: str) -> bool:
    integers = np.issubdtype(given, np.integer) and np.issubdtype(plan, np.integer)
    return integers and np.can_cast(given, plan)
