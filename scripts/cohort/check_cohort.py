"""Check that every slide and annotation of the table is there."""

from pathlib import Path

from lamella.cohort.check import check_cohort
from lamella.logs import start_job_log

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    check_cohort(
        table=Path(snakemake.input.table),
        output=Path(snakemake.output.slides),
    )
