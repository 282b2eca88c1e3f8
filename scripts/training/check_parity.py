"""Compare what every engine says of real patches with the trained network."""

from pathlib import Path

from lamella.engines.parity import check_parity
from lamella.engines.settings import ParitySettings
from lamella.logs import start_job_log
from lamella.tracking.settings import TrackingSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    check_parity(
        export_folder=Path(snakemake.params.folder),
        index=Path(snakemake.input.index),
        output=Path(snakemake.output.parity),
        settings=ParitySettings(**snakemake.params.settings),
        tracking=TrackingSettings(**snakemake.params.tracking),
    )
