"""Show with Grad-CAM where in a patch the network looks."""

from pathlib import Path

from lamella.export.settings import SelectionMetric
from lamella.interpret.grad_cam import explain_patches
from lamella.interpret.settings import InterpretSettings
from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    explain_patches(
        index=Path(snakemake.input.index),
        metrics=[Path(path) for path in snakemake.input.metrics],
        output=Path(snakemake.output.table),
        run=snakemake.wildcards.run,
        metric=SelectionMetric(snakemake.params.metric),
        settings=InterpretSettings(**snakemake.params.settings),
        tracking=TrackingSettings(**snakemake.params.tracking),
    )
