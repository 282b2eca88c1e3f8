"""Export the network of the best seed in every format that an engine reads."""

from pathlib import Path

from lamella.export.description import ModelFormat
from lamella.export.export import export_model
from lamella.export.settings import ExportSettings
from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    export_model(
        metrics=[Path(path) for path in snakemake.input.metrics],
        folder=Path(snakemake.params.folder),
        run=snakemake.wildcards.run,
        formats=[ModelFormat(each) for each in snakemake.params.formats],
        settings=ExportSettings(**snakemake.params.settings),
        tracking=TrackingSettings(**snakemake.params.tracking),
        onnx2tf=[Path(path) for path in snakemake.input.onnx2tf],
    )
