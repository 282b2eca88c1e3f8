"""What a site's cluster is called and asks for: the one part of a study that belongs to a place."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from lamella.settings import Settings


class Launcher(StrEnum):
    """What starts the processes of a training."""

    SRUN = "srun"
    MPIRUN = "mpirun"
    HOROVODRUN = "horovodrun"


class SiteSettings(Settings):
    """The cluster that a study runs on; kept in `config/site.yaml`, apart from the study."""

    account: str | None = None
    """Account that pays for the jobs; absent: the cluster's own choice."""

    partition: str | None = None
    """Partition of jobs that need no GPU; `sinfo -s` lists them."""

    gpu_partition: str | None = None
    """Partition of jobs with `device: cuda`; absent: the cluster has none."""

    gpu_type: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.]+$")
    """Kind of GPU to ask for, such as `a100`; absent: any."""

    qos: str | None = None
    """Quality of service to ask for; absent: the account's own."""

    scratch: Path | None = None
    """Folder on each node's own disk for what ends with a job; absent: `$TMPDIR`, else `/tmp`. May
    hold variables of the node, as in `/scratch/$USER`; made where it is missing."""

    container: Path | None = None
    """Image that jobs run in, such as `/shared/lamella.sif`, see `containers/`; absent: in none."""

    interface: str | None = None
    """Network interface by which nodes reach each other, such as `ib0`; absent: the usual one."""

    limit_min: int | None = Field(default=None, ge=5)
    """Longest time limit of a job in minutes, of which no step asks for more; absent: none."""

    launcher: Launcher = Launcher.SRUN
    """What starts the processes of a training: `srun` those on several nodes (on one Lamella does
    it itself); `mpirun`, that of Open MPI, by which nothing is exchanged; `horovodrun`, by ssh
    between nodes and for `training.backend: horovod` alone."""

    walltime_min: int = Field(default=240, ge=5)
    """Time limit in minutes of the job of a fleet's workers; they are renewed before it."""

    def within_limit(self, wanted_min: int) -> int:
        """Return the minutes that a job may ask for of those it would like to have."""
        return min(wanted_min, self.limit_min or wanted_min)

    def resources(self, gpus: int = 0) -> dict[str, str]:
        """Return what a job asks for here, in the words of Snakemake's SLURM plugin.

        Args:
            gpus: GPUs on each of the job's nodes.
        """
        asked = {
            "slurm_account": self.account,
            "slurm_partition": self.gpu_partition if gpus else self.partition,
            "qos": self.qos,
            # Unlike the plugin's own `gpu`, which counts over all nodes.
            "gres": ":".join(filter(None, ("gpu", self.gpu_type, str(gpus)))) if gpus else None,
        }
        return {name: value for name, value in asked.items() if value is not None}


DEFAULT_SITE = SiteSettings()
