"""Which engines run here, on which devices."""

from dataclasses import dataclass

from lamella.engines.load import engine_version
from lamella.engines.settings import EngineName
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
    """

    name: EngineName
    device: Device
    version: str | None
    reason: str | None


def list_engines() -> list[EngineStatus]:
    """Return every engine on every device. Imports all engines' libraries: takes seconds."""
    return [engine_status(name, device) for name in EngineName for device in Device]


def engine_status(name: EngineName, device: Device) -> EngineStatus:
    """Return whether one engine runs on one device, or why it does not."""
    try:
        return EngineStatus(name, device, engine_version(name, device), None)
    except EngineUnavailableError as error:
        return EngineStatus(name, device, None, error.what)
