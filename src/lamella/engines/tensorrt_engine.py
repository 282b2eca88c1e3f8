"""TensorRT; the one module that imports it."""

import tensorrt

from lamella.engines.plan_engine import PlanEngine
from lamella.engines.settings import EngineName


class TensorRtEngine(PlanEngine):
    """TensorRT 10 or later."""

    name = EngineName.TENSORRT
    library = tensorrt
