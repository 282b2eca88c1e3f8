"""Time one workload on one engine, its stages apart."""

from pathlib import Path

from lamella.benchmark.settings import BenchmarkSettings
from lamella.engines.settings import EngineName, Precision
from lamella.logs import start_job_log
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.time import time_workload

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    time_workload(
        engine=EngineName(snakemake.wildcards.engine),
        precision=Precision(snakemake.wildcards.precision),
        folder=Path(snakemake.params.folder),
        output=Path(snakemake.output.result),
        limit=snakemake.params.limit,
        benchmark=BenchmarkSettings(**snakemake.params.benchmark),
        settings=WorkloadSettings(**snakemake.params.settings),
    )
