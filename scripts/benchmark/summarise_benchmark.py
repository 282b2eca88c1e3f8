"""Put the engines side by side."""

from pathlib import Path

from lamella.benchmark.summarise import summarise_benchmark
from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    summarise_benchmark(
        results=[Path(path) for path in snakemake.input.results],
        output=Path(snakemake.output.summary),
        scenarios=Path(snakemake.output.scenarios),
        tracking=TrackingSettings(**snakemake.params.tracking),
    )
