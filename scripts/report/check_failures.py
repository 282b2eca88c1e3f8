"""List the quarantined slides; fail when they are more than fleet.max_failed_share allows."""

from pathlib import Path

from lamella.fleet.failures import check_failures
from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    check_failures(
        manifests=[Path(path) for path in snakemake.input.manifests],
        table=Path(snakemake.log.table),
        settings=FleetSettings(**snakemake.params.fleet),
    )
