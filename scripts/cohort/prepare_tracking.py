"""Make the tracking store ready, once, before any job logs to it."""

from pathlib import Path

from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.store import prepare_tracking

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    prepare_tracking(
        settings=TrackingSettings(**snakemake.params.settings),
        ready=Path(snakemake.output.ready),
    )
