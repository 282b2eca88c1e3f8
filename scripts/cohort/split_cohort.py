"""Divide the patients into training, validation and test."""

from pathlib import Path

from lamella.cohort.settings import SplitSettings
from lamella.cohort.split import split_cohort
from lamella.logs import start_job_log

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    split_cohort(
        slides=Path(snakemake.input.slides),
        output=Path(snakemake.output.splits),
        settings=SplitSettings(**snakemake.params.settings),
    )
