"""Put the workloads of all engines side by side, as tables and as pictures."""

from pathlib import Path

from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings
from lamella.workloads.summarise import summarise_workloads

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    summarise_workloads(
        results=[Path(path) for path in snakemake.input.results],
        output=Path(snakemake.output.summary),
        tables=Path(snakemake.output.tables),
        stages=Path(snakemake.output.stages),
        parity=Path(snakemake.output.parity),
        tracking=TrackingSettings(**snakemake.params.tracking),
    )
