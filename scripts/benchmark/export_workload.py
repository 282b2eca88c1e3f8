"""Write the network of a workload in the formats of the engines."""

from pathlib import Path

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.settings import EngineName
from lamella.logs import start_job_log
from lamella.workloads.export import export_workload
from lamella.workloads.settings import WorkloadSettings

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    export_workload(
        case=BenchmarkCase(snakemake.wildcards.case),
        prepared=Path(snakemake.input.prepared),
        output=Path(snakemake.output.network),
        engines=[EngineName(each) for each in snakemake.params.engines],
        opset=snakemake.params.opset,
        settings=WorkloadSettings(**snakemake.params.settings),
        onnx2tf=[Path(path) for path in snakemake.input.onnx2tf],
    )
