"""Lay out what a workload works on."""

from pathlib import Path

from lamella.benchmark.settings import BenchmarkCase
from lamella.logs import start_job_log
from lamella.workloads.inputs import prepare_workload
from lamella.workloads.settings import WorkloadSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    prepare_workload(
        case=BenchmarkCase(snakemake.wildcards.case),
        output=Path(snakemake.output.prepared),
        settings=WorkloadSettings(**snakemake.params.settings),
    )
