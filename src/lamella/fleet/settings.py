"""How the stages that treat every slide alike spread over processes."""

from enum import StrEnum
from typing import Self

from pydantic import Field

from lamella.settings import Settings


class ClusterKind(StrEnum):
    """Where the workers run."""

    LOCAL = "local"


class FleetSettings(Settings):
    """How many workers there are and what they may use."""

    cluster: ClusterKind = ClusterKind.LOCAL
    """Where the workers run; `local`: processes on the node of the stage's own job."""

    max_workers: int = Field(default=16, ge=1)
    """Most worker processes at a time; never more than the job's cores or slides."""

    worker_memory_mib: int = Field(default=2048, ge=256)
    """Memory of one worker in MiB; one that exceeds it is restarted and its slide tried again."""

    attempts: int = Field(default=3, ge=1)
    """How often a slide is tried whose worker was killed; then as often again, alone."""

    read_limit_s: int = Field(default=60, ge=1)
    """Seconds until the reading of a finished file, a matter of milliseconds, is given up; of
    processor time: the file is damaged and made anew; of waiting: its file system is away and the
    run stops."""

    max_failed_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of quarantined slides above which the run fails at its very end; 0 is strict."""

    def within(self, cores: int) -> Self:
        """Return the settings for a job that was given this many cores."""
        return self.model_copy(update={"max_workers": max(1, min(self.max_workers, cores))})


DEFAULT_FLEET = FleetSettings()
