"""Load an engine and time what that takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lamella.engines.engine import Engine
from lamella.engines.load import engine_version
from lamella.engines.settings import EngineName
from lamella.settings import Device

_MS_PER_S = 1e3

Kind = TypeVar("Kind", bound=Engine)


@dataclass(frozen=True)
class Loaded(Generic[Kind]):
    """A loaded engine; the times as in ``Measurement``."""

    engine: Kind
    version: str
    import_ms: float
    load_ms: float
    build_ms: float | None


def load_timed(name: EngineName, device: Device, load: Callable[[], Kind]) -> Loaded[Kind]:
    """Import the library of an engine, then load a model.

    Args:
        name: The engine.
        device: Where it shall run.
        load: Loads the model.

    Raises:
        EngineUnavailableError: the engine is not available, or cannot load the model.
    """
    begun = time.perf_counter()
    version = engine_version(name, device)
    imported = time.perf_counter()
    engine = load()
    loading_ms = (time.perf_counter() - imported) * _MS_PER_S
    return Loaded(
        engine=engine,
        version=version,
        import_ms=(imported - begun) * _MS_PER_S,
        load_ms=loading_ms - (engine.build_ms or 0.0),
        build_ms=engine.build_ms,
    )
