"""What a site's cluster is called and asks for: the one part of a study that belongs to a place."""

from pathlib import Path

from pydantic import Field

from lamella.settings import Settings


class SiteSettings(Settings):
    """The cluster that a study runs on; kept in `config/site.yaml`, apart from the study."""

    account: str | None = None
    """Account that pays for the jobs; `sacctmgr show associations user=$USER format=account`."""

    partition: str | None = None
    """Partition of jobs that need no GPU."""

    gpu_partition: str | None = None
    """Partition of jobs that need GPUs; null: the cluster has none."""

    gpu_type: str | None = None
    """Kind of GPU to ask for, such as `a100`; null: any."""

    qos: str | None = None
    """Quality of service to ask for; null: the account's own."""

    scratch: Path | None = None
    """Folder on each node's own disk for what ends with a job; null: `$TMPDIR`, else `/tmp`."""

    interface: str | None = None
    """Network interface by which nodes reach each other, such as `ib0`; null: as names resolve."""

    walltime_min: int = Field(default=240, ge=5)
    """Time limit of a fleet worker's job in minutes; worker jobs end and are renewed before it."""

    container: Path | None = None
    """Image in which all jobs run, such as `lamella.sif`; null: the environment `.venv`."""


DEFAULT_SITE = SiteSettings()
