"""Index the patches of all slides and join them into one view."""

from pathlib import Path

from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log
from lamella.patches.join import join_cohort
from lamella.patches.settings import PatchSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    join_cohort(
        slides=Path(snakemake.input.slides),
        splits=Path(snakemake.input.splits),
        manifest=Path(snakemake.input.manifest),
        index=Path(snakemake.output.index),
        cohort=Path(snakemake.output.cohort),
        settings=PatchSettings(**snakemake.params.settings),
        fleet=FleetSettings(**snakemake.params.fleet),
    )
