"""Give mean and spread of every run over its seeds."""

from pathlib import Path

from lamella.logs import start_job_log
from lamella.training.summarise import summarise_runs

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    summarise_runs(
        metrics=[Path(path) for path in snakemake.input.metrics],
        output=Path(snakemake.output.summary),
    )
