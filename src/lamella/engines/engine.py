"""What every engine is: a loaded model that turns arrays into answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelDescription, ModelInterface, TensorDescription
from lamella.settings import Device

_AMPERE = (8, 0)
"""Compute capability of the first GPUs with tf32 and bf16: CUDA C++ Programming Guide, "Compute
Capabilities"."""

Arrays = tuple[NDArray[Any], ...]
"""One array for each input or output of a model, in the order of its description."""


class Engine(Protocol):
    """A loaded model, ready to run."""

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        ...

    @property
    def device(self) -> Device:
        """Where it runs."""
        ...

    @property
    def precision(self) -> Precision:
        """Which arithmetic it computes in."""
        ...

    @property
    def description(self) -> ModelDescription:
        """The model that is loaded."""
        ...

    @property
    def build_ms(self) -> float | None:
        """Time of the loading in which code or a plan was built of the model that was read.

        ``None`` where none was, or the library does it within the call that reads.
        """
        ...

    def infer(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers of a model of one input and one output.

        Args:
            patches: ``(n, ...)`` of the type and shape of the input, for a patch classifier
                ``(n, height, width, 3)`` uint8, RGB, as they lie in a shard. Not changed.

        Returns:
            ``(n, ...)`` of the shape of the output, for a patch classifier ``(n, classes)``, in
            host memory, as an array of its own; of no rows for an empty batch.

        Raises:
            TypeError: the patches are of another type than the model's input.
            ValueError: the patches are of another shape, or the model has more than one input or
                output.
            EngineUnavailableError: the library fails, for example for want of memory.
        """
        ...

    def run(self, inputs: Sequence[NDArray[Any]]) -> Arrays:
        """Return every output for a batch of every input; else as ``infer``.

        Args:
            inputs: One array for each input, of one length of axis 0.
        """
        ...


class CheckedEngine(ABC):
    """What the engines share: the checks of a batch before the library sees it."""

    name: ClassVar[EngineName]
    load_errors: ClassVar[tuple[type[Exception], ...]]
    """What the library raises where it cannot load a model."""
    run_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)
    """What it raises where it cannot compute."""
    by_name: ClassVar[bool] = True
    """Whether inputs and outputs are those of the file's names, not of its order."""
    build_ms: float | None = None
    """Time of the building; see ``Engine``."""

    def __init__(
        self,
        path: Path,
        interface: ModelInterface | None,
        *,
        device: Device,
        precision: Precision,
        threads: int,
        batch_sizes: Sequence[int] = (1,),
    ) -> None:
        self.device = device
        self.precision = precision
        self.threads = threads
        self.batch_sizes = batch_sizes
        self._load(path)
        self.interface = self._detect(path) if interface is None else interface
        for each in self.interface.inputs:
            if not each.shape:
                raise StoreError(
                    f"its {each.name} has no axis for the rows of a batch, or it does not say so",
                    str(path),
                    "Give inputs and outputs to `load_foreign_engine`, or export the network with"
                    " such an axis",
                )
        if interface is not None:
            self._check_given(interface, path)
        self._warm_up()

    @classmethod
    @abstractmethod
    def version(cls, device: Device) -> str:
        """Return the version of the library.

        Raises:
            EngineUnavailableError: the library cannot use the device.
        """

    @classmethod
    @abstractmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return why it does not compute in a precision other than f32; empty where it does.

        Args:
            precision: Any but f32, which every engine has, and tf32 on the CPU, which none has.
            device: One that the library can use.
        """

    @property
    def description(self) -> ModelDescription:
        """The model's ``model.json``; a model from elsewhere has none."""
        assert isinstance(self.interface, ModelDescription)
        return self.interface

    def infer(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the only output for the only input; see ``Engine``."""
        if len(self.interface.outputs) != 1:
            raise ValueError(f"the model has {len(self.interface.outputs)} outputs: use run()")
        answer: NDArray[np.float32] = self.run((patches,))[0]
        return answer

    def run(self, inputs: Sequence[NDArray[Any]]) -> Arrays:
        """Return every output for a batch of every input; see ``Engine``."""
        rows = check_batch(inputs, self.interface.inputs)
        if rows == 0:
            return tuple(_no_rows(each) for each in self.interface.outputs)
        size = self.interface.inputs[0].shape[0]
        if size in (-1, rows):
            return self._computed(tuple(np.ascontiguousarray(each) for each in inputs))
        joined = self._joined(_parts(inputs, size), self._computed)
        return tuple(output[:rows] for output in joined)

    def _joined(self, parts: Iterable[Arrays], compute: Callable[[Arrays], Arrays]) -> Arrays:
        """Return the outputs for a batch, computed part by part."""
        found = []
        for part in parts:
            found.append(compute(part))
            self._check_part(found[-1], len(part[0]))
        return tuple(np.concatenate(each) for each in zip(*found, strict=True))

    def _check_part(self, found: Arrays, rows: int) -> None:
        for each, output in zip(self.interface.outputs, found, strict=True):
            if output.shape[:1] != (rows,):
                raise EngineUnavailableError(
                    f"its output {each.name} is of shape {output.shape} for {rows} rows: of parts"
                    " of a batch, no whole can be made",
                    f"{self.name} on {self.device} in {self.precision}",
                    f"Ask for {rows} rows at once or for other outputs, or export the network with"
                    " a free axis for the rows",
                )

    def _computed(self, inputs: Arrays) -> Arrays:
        try:
            return self._run(inputs)
        except self.run_errors as error:
            raise EngineUnavailableError(
                f"it failed while it computed {len(inputs[0])} at once ({first_line(error)})",
                f"{self.name} on {self.device} in {self.precision}",
                "Choose a smaller batch, or another engine, device or precision",
            ) from error

    @abstractmethod
    def _load(self, path: Path) -> None:
        """Load the model for the device and the number of threads."""

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Time what is built of the model."""
        begun = time.perf_counter()
        yield
        self.build_ms = (time.perf_counter() - begun) * 1e3

    def _detect(self, path: Path) -> ModelInterface:
        """Return what the loaded file says of inputs and outputs; their layouts are not known.

        Returns:
            Them; without axes where the file does not say which there are.

        Raises:
            StoreError: files of this format do not say it.
        """
        raise StoreError(
            "the format does not say what the inputs and outputs are",
            str(path),
            "Give them to `load_foreign_engine`",
        )

    def _check_given(self, given: ModelInterface, path: Path) -> None:
        """Refuse inputs and outputs that are not those of the loaded file.

        Raises:
            StoreError: a name, type or shape is another, or an input is left out.
        """
        found = self._detect(path)
        _check_tensors("inputs", given.inputs, found.inputs, path, by_name=self.by_name)
        _check_tensors("outputs", given.outputs, found.outputs, path, by_name=self.by_name)

    def _warm_up(self) -> None:  # noqa: B027
        """Do what is left of the loading once inputs and outputs are known; usually nothing."""

    @abstractmethod
    def _run(self, inputs: Arrays) -> Arrays:
        """Return the outputs for checked, contiguous inputs of at least one row."""


def infer_filled(
    engine: Engine, patches: NDArray[np.uint8], batch_size: int
) -> NDArray[np.float32]:
    """Return the answers to one of many batches, of which the last may be smaller than the others.

    On GPUs it is filled up: there ONNX Runtime searches its kernels anew for every shape it meets,
    which takes many times as long as the patches that are computed in vain.

    Args:
        engine: A model of one input and one output.
        patches: As ``Engine.infer`` takes them.
        batch_size: Patches of the other batches.

    Returns:
        As ``Engine.infer``: as many rows as there are patches.
    """
    if engine.device is Device.CPU or not 0 < len(patches) < batch_size:
        return engine.infer(patches)
    (filled,) = next(_parts((patches,), batch_size))
    return engine.infer(filled)[: len(patches)]


def gpu_lacks(precision: Precision, capability: tuple[int, int]) -> str:
    """Return why a GPU does not compute in a precision; empty where it does.

    Args:
        precision: Any but f32.
        capability: The GPU's compute capability.
    """
    if precision is Precision.F16 or capability >= _AMPERE:
        return ""
    return f"this GPU is older than Ampere, the first with {precision}"


def _parts(inputs: Sequence[NDArray[Any]], size: int) -> Iterator[Arrays]:
    """Yield batches of a fixed size; the last repeats its last row where it has too few."""
    for start in range(0, len(inputs[0]), size):
        parts = [each[start : start + size] for each in inputs]
        missing = size - len(parts[0])
        yield tuple(np.concatenate([part, part[-1:].repeat(missing, 0)]) for part in parts)


def _no_rows(output: TensorDescription) -> NDArray[Any]:
    # Free axes are empty, too: how long they were is known from rows alone.
    return np.empty([0, *(max(0, length) for length in output.shape[1:])], dtype=output.dtype)


def check_batch(inputs: Sequence[NDArray[Any]], expected: Sequence[TensorDescription]) -> int:
    """Refuse a batch that the model was not made for, and return its length.

    Args:
        inputs: One array for each input.
        expected: The model's inputs; -1 is a free axis.

    Raises:
        TypeError: an array is of another type.
        ValueError: an array is of another shape, there are more or fewer, or their lengths differ.
    """
    if len(inputs) != len(expected):
        raise ValueError(f"the model takes {len(expected)} inputs, not {len(inputs)}")
    for given, wanted in zip(inputs, expected, strict=True):
        if given.dtype != wanted.dtype:
            raise TypeError(f"{wanted.name} must be {wanted.dtype}; these are {given.dtype}")
        # Batches of any length: of a model of fixed batches they are cut.
        if not (given.ndim and _fits(given.shape[1:], wanted.shape[1:])):
            axes = ", ".join("n" if length < 0 else str(length) for length in wanted.shape)
            raise ValueError(f"the model takes {wanted.name} of shape ({axes}), not {given.shape}")
    lengths = {len(given) for given in inputs}
    if len(lengths) != 1:
        raise ValueError(f"the inputs are of different lengths {sorted(lengths)}")
    return lengths.pop()


def first_line(error: Exception) -> str:
    """Return the first line of a library's that says why; more of them are its own affairs."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).strip().split("\n")]
    telling = [line for line in lines if line and not _is_heading(line)]
    return (telling or lines)[0]


def _is_heading(line: str) -> bool:
    # OpenVINO's places in its own source end so, too.
    return line.endswith(":") or line.startswith(("Loading input model", "Model wasn't fully"))


def _check_tensors(
    kind: str,
    given: Sequence[TensorDescription],
    found: Sequence[TensorDescription],
    path: Path,
    *,
    by_name: bool,
) -> None:
    """Refuse inputs or outputs that are not a file's.

    Args:
        kind: ``inputs`` or ``outputs``.
        given: What is asked for; of outputs looked up by name, any of them.
        found: What the file says.
        path: The file.
        by_name: Whether a name says which is which; else their order does.

    Raises:
        StoreError: a name, type or shape is another, or one is left out that must not be.
    """
    if by_name:
        there = {each.name: each for each in found}
        names = [each.name for each in given]
        if not there.keys() >= set(names) or (kind == "inputs" and len(names) != len(there)):
            _refuse(f"its {kind} are {', '.join(there)}, not {', '.join(names)}", path)
        found = [there[name] for name in names]
    else:
        check_number(kind, len(given), len(found), path)
    for ours, theirs in zip(given, found, strict=True):
        if not _alike(ours, theirs):
            _refuse(
                f"its {theirs.name} is {theirs.dtype} of shape {theirs.shape}, not {ours.dtype} of"
                f" shape {ours.shape}",
                path,
            )


def check_number(kind: str, given: int, found: int, path: Path) -> None:
    """Refuse more or fewer inputs or outputs than a file has.

    Raises:
        StoreError: the numbers differ.
    """
    if given != found:
        _refuse(f"it has {found} {kind}, not {given}", path)


def _refuse(what: str, path: Path) -> NoReturn:
    raise StoreError(what, str(path), "Correct the interface that is given")


def _alike(given: TensorDescription, found: TensorDescription) -> bool:
    """Return whether types and fixed lengths are the same, as far as they are known."""
    # Text, for example, is of no type of numpy's.
    of_type = found.dtype not in np.sctypeDict or np.dtype(found.dtype) == given.dtype
    return of_type and (not found.shape or _fits(given.shape, found.shape))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        one == other or -1 in (one, other) for one, other in zip(shape, wanted, strict=True)
    )
