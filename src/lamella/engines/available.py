"""Which engines run here, on which devices."""

from dataclasses import dataclass

from lamella.engines.load import engine_precisions, engine_version
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError
from lamella.settings import Device


@dataclass(frozen=True)
class EngineStatus:
    """An engine on a device.

    Attributes:
        name: The engine.
        device: The device.
        version: Version of the engine's library; ``None`` where it is unavailable.
        reason: Why it is unavailable; ``None`` where it is available.
        precisions: What it computes in; nothing where it is unavailable.
    """

    name: EngineName
    device: Device
    version: str | None
    reason: str | None
    precisions: tuple[Precision, ...] = ()


def list_engines() -> list[EngineStatus]:
    """Return every engine on every device. Imports all engines' libraries: takes seconds."""
    return [engine_status(name, device) for name in EngineName for device in Device]


def engine_status(name: EngineName, device: Device) -> EngineStatus:
    """Return whether one engine runs on one device, or why it does not."""
    try:
        version = engine_version(name, device)
        return EngineStatus(name, device, version, None, engine_precisions(name, device))
    except EngineUnavailableError as error:
        return EngineStatus(name, device, None, error.what)
