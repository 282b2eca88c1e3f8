"""Cut the tissue of every slide into patches."""

from pathlib import Path

from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log
from lamella.patches.extract import extract_patches
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import ReadingSettings
from lamella.slurm.settings import SiteSettings

if __name__ == "__main__":  # Dask's spawned workers import this file again
    start_job_log(snakemake.log[0])
    extract_patches(
        slides=Path(snakemake.input.slides),
        masks=Path(snakemake.input.masks),
        mask_mpp=snakemake.params.mask_mpp,
        manifest=Path(snakemake.output.manifest),
        settings=PatchSettings(**snakemake.params.settings),
        fleet=FleetSettings(**snakemake.params.fleet).within(snakemake.threads),
        reading=ReadingSettings(**snakemake.params.reading),
        site=SiteSettings(**snakemake.params.site),
    )
