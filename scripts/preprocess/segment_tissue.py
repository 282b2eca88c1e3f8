"""Find the tissue of every slide."""

from pathlib import Path

from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log
from lamella.slides.settings import ReadingSettings
from lamella.slurm.settings import SiteSettings
from lamella.tissue.segment import segment_tissue
from lamella.tissue.settings import TissueSettings

if __name__ == "__main__":  # Dask's spawned workers import this file again
    start_job_log(snakemake.log[0])
    segment_tissue(
        slides=Path(snakemake.input.slides),
        manifest=Path(snakemake.output.manifest),
        quality=Path(snakemake.output.quality),
        settings=TissueSettings(**snakemake.params.settings),
        fleet=FleetSettings(**snakemake.params.fleet).within(snakemake.threads),
        reading=ReadingSettings(**snakemake.params.reading),
        site=SiteSettings(**snakemake.params.site),
    )
