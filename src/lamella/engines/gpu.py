"""The first NVIDIA GPU, its memory and a queue of its work; the one module that talks to CUDA."""

import weakref
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Gpu:
    """Which GPU it is.

    Attributes:
        name: As its driver calls it, such as ``NVIDIA H100 80GB HBM3``.
        capability: Its compute capability, ``(major, minor)``.
    """

    name: str
    capability: tuple[int, int]


def first_gpu() -> Gpu:
    """Return the GPU that the engines compute on.

    Raises:
        RuntimeError: there is none, in CUDA's words.
    """
    properties = _done(_cuda().cudaGetDeviceProperties(0))
    return Gpu(properties.name.partition(b"\0")[0].decode(), (properties.major, properties.minor))


class GpuQueue:
    """Work that the GPU does in order, and the memory that it is done in; both end with the object.

    Every method raises RuntimeError in CUDA's words where the GPU cannot do it.
    """

    def __init__(self) -> None:
        self.handle = int(_done(_cuda().cudaStreamCreate()))
        weakref.finalize(self, _cuda().cudaStreamDestroy, self.handle)

    def allocate(self, size: int) -> int:
        """Return the address of memory of a size in bytes, at least one."""
        address = int(_done(_cuda().cudaMalloc(max(1, size))))
        weakref.finalize(self, _cuda().cudaFree, address)
        return address

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Queue a copy to the GPU; the contiguous array must stay as it is until ``wait``."""
        kind = _cuda().cudaMemcpyKind.cudaMemcpyHostToDevice
        _done(_cuda().cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self.handle))

    def download(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Queue a copy from the GPU; the array is filled after ``wait``."""
        array = np.empty(shape, dtype=dtype)
        kind = _cuda().cudaMemcpyKind.cudaMemcpyDeviceToHost
        _done(_cuda().cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self.handle))
        return array

    def wait(self) -> None:
        """Return when everything that was queued is done."""
        _done(_cuda().cudaStreamSynchronize(self.handle))


@cache
def _cuda() -> Any:
    # Where nobody asks for a GPU, a tenth of a second is spared.
    return import_module("cuda.bindings.runtime")


def _done(result: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA's gave."""
    error, *values = result
    if error != _cuda().cudaError_t.cudaSuccess:
        _, words = _cuda().cudaGetErrorString(error)
        raise RuntimeError(words.decode())
    return values[0] if values else None
