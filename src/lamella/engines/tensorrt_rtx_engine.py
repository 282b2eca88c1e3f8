"""TensorRT for RTX; the one module that imports it."""

from typing import Any

import tensorrt_rtx_bindings as tensorrt_rtx

from lamella.engines.gpu import first_gpu
from lamella.engines.plan_engine import PlanEngine
from lamella.engines.settings import EngineName
from lamella.settings import Device


class TensorRtRtxEngine(PlanEngine):
    """TensorRT for the GPUs of workstations: plans are ready in seconds, kernels at first use."""

    name = EngineName.TENSORRT_RTX
    library = tensorrt_rtx

    def _new_context(self) -> Any:
        config = self._plan.create_runtime_config()
        # Else the first calls are answered by other kernels than the later ones.
        config.dynamic_shapes_kernel_specialization_strategy = (
            tensorrt_rtx.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        config.set_execution_context_allocation_strategy(
            tensorrt_rtx.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        )
        return self._plan.create_execution_context(config)

    @classmethod
    def version(cls, device: Device) -> str:
        """Return its version; see ``CheckedEngine``."""
        version = super().version(device)
        major, minor = first_gpu().capability
        if f"SM{major}{minor}" not in tensorrt_rtx.ComputeCapability.__members__:
            why = f"TensorRT for RTX does not compute on GPUs of compute capability {major}.{minor}"
            raise cls._unavailable(device, why)
        return version
