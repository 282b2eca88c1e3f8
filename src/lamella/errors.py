"""Every error that Lamella raises on purpose.

::

    LamellaError                    one line for the user, exit code 1
    ├── SettingsError               a setting or the config file is wrong
    ├── CohortError                 the slide table is wrong
    │   └── CohortErrors            several faults of it at once
    ├── SlideError                  a slide cannot be used
    │   ├── SlideUnreadableError    no reader opens it, or its pixels cannot be decoded
    │   └── ResolutionUnknownError  microns per pixel missing or implausible
    ├── AnnotationError             an annotation file cannot be used
    ├── StoreError                  a file in results/ is missing, damaged or of another layout
    │   └── DamagedFileError    reading it crashes, or never ends
    ├── SlurmError                  SLURM does not answer, or not as is expected
    ├── TrainingError               a training run cannot start or go on
    ├── ExportError                 a trained model cannot be exported
    ├── EngineUnavailableError      an inference engine or its device is not here, or fails
    ├── UnexplainableError          a network cannot be explained by the chosen method
    ├── TrackingError               a record cannot be written or sent
    ├── WorkerLostError             a process that worked on a slide was killed, or ended
    └── FailedSlidesError           more slides failed than ``fleet.max_failed_share`` allows

The three parts are positional so that an error survives pickling out of a worker process.
"""

from collections.abc import Sequence


class LamellaError(Exception):
    """What is wrong, where, and what to do about it.

    Args:
        what: The fault, lower case, without a full stop.
        where: File, line, slide or setting at fault.
        remedy: What the user can do, a sentence without its full stop.
    """

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}."


class SettingsError(LamellaError):
    """A setting or the config file is wrong."""


class CohortError(LamellaError):
    """The slide table is wrong."""


class CohortErrors(CohortError):
    """Everything that is wrong with the slide table, a line each."""

    def __init__(self, errors: Sequence[CohortError]) -> None:
        first = errors[0]
        super().__init__(first.what, first.where, first.remedy)
        self.args = (errors,)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class SlideError(LamellaError):
    """A slide cannot be used."""


class SlideUnreadableError(SlideError):
    """No reader opens the slide, or its pixels cannot be decoded."""


class ResolutionUnknownError(SlideError):
    """Microns per pixel are missing or implausible."""


class AnnotationError(LamellaError):
    """An annotation file cannot be used."""


class StoreError(LamellaError):
    """A file in ``results/`` is missing, damaged or of another layout."""


class DamagedFileError(StoreError):
    """Reading a file in ``results/`` crashes, or never ends."""


class SlurmError(LamellaError):
    """SLURM does not answer, or not as is expected."""


class TrainingError(LamellaError):
    """A training run cannot start or go on."""


class ExportError(LamellaError):
    """A trained model cannot be exported."""


class UnwritableFormatError(ExportError):
    """A trained model cannot be written in one of the formats, however often it is tried."""


class EngineUnavailableError(LamellaError):
    """An inference engine or its device is not here, or fails while it computes."""


class UnexplainableError(LamellaError):
    """A network cannot be explained by the chosen method."""


class TrackingError(LamellaError):
    """A record cannot be written or sent."""


class WorkerLostError(LamellaError):
    """A process that worked on a slide was killed, or ended."""


class FailedSlidesError(LamellaError):
    """More slides failed than ``fleet.max_failed_share`` allows."""
