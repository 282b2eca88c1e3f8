"""Time one engine in one precision on one case."""

from pathlib import Path

from lamella.benchmark.engine import benchmark_engine
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.engines.settings import EngineName, Precision
from lamella.logs import start_job_log

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    benchmark_engine(
        case=BenchmarkCase(snakemake.wildcards.case),
        engine=EngineName(snakemake.wildcards.engine),
        precision=Precision(snakemake.wildcards.precision),
        export_folder=Path(snakemake.params.folder),
        index=Path(snakemake.input.index),
        parity=Path(snakemake.input.parity),
        output=Path(snakemake.output.result),
        settings=BenchmarkSettings(**snakemake.params.settings),
    )
