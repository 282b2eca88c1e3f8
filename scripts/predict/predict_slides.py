"""Give every patch of every slide its probabilities: a heatmap and a score."""

from pathlib import Path

from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log
from lamella.patches.settings import PatchSettings
from lamella.predict.settings import PredictSettings
from lamella.predict.slides import predict_slides
from lamella.slurm.settings import SiteSettings
from lamella.tracking.settings import TrackingSettings

if __name__ == "__main__":  # Dask's spawned workers import this file again
    start_job_log(snakemake.log[0])
    predict_slides(
        slides=Path(snakemake.input.slides),
        splits=Path(snakemake.input.splits),
        masks=Path(snakemake.input.masks),
        patches=Path(snakemake.input.patches),
        export_folder=Path(snakemake.params.folder),
        parity=Path(snakemake.input.parity),
        manifest=Path(snakemake.output.manifest),
        scores=Path(snakemake.output.scores),
        settings=PredictSettings(**snakemake.params.settings),
        patch_settings=PatchSettings(**snakemake.params.patch_settings),
        fleet=FleetSettings(**snakemake.params.fleet).within(snakemake.threads),
        tracking=TrackingSettings(**snakemake.params.tracking),
        site=SiteSettings(**snakemake.params.site),
    )
