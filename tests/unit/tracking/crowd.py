"""Jobs that log at once, each in a process of its own; a program.

    python crowd.py SERVER NUMBER_OF_JOBS [NUMBER_OF_HELD_JOBS FILE]

Job ``n`` ended in second ``n``, and all models have one name, so that the last job's model is to
bear the alias. The first jobs may be held: each goes on from the run that it has made in MLflow
when the file is there. Prints the exit codes of the jobs; what they warn of goes to standard error.
"""

import importlib
import json
import logging
import multiprocessing
import sys
import time
import warnings
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

# Imported before the processes part: twenty imports of MLflow would take a minute.
from lamella.tracking.mlflow_store import MlflowStore
from lamella.tracking.record import Dataset, Metric, ModelArtifact, Record, Tensor
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings

EPOCHS = 30


def job_record(job: int, folder: Path) -> Record:
    """Return the record of a job, with the files that it names."""
    folder.mkdir(parents=True)
    (folder / "history.tsv").write_text(f"job\n{job}\n")
    np.save(folder / "example.npy", np.zeros((1, 2), dtype=np.float32))
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    nodes = [helper.make_node("Identity", ["x"], ["y"], name=f"job_{job}")]
    graph = helper.make_graph(nodes, "identity", numbers[:1], numbers[1:])
    onnx.save(helper.make_model(graph, ir_version=9), folder / "model.onnx")
    return Record(
        kind="export",
        name=f"job {job}",
        params={"job": str(job)},
        metrics=[
            Metric(key=key, value=job + 1 / (1 + epoch), step=epoch, timestamp_ms=1_000 + epoch)
            for key in ("train_loss", "validation_loss")
            for epoch in range(EPOCHS)
        ],
        artifacts=["history.tsv"],
        datasets=[
            Dataset(name="patches", digest="0123456789abcdef" * 4, source="p", context="training")
        ],
        model=ModelArtifact(
            path="model.onnx",
            inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2)),),
            outputs=(Tensor(name="y", dtype="float32", shape=(-1, 2)),),
            input_example="example.npy",
            name="thin",
            alias="champion",
        ),
        started_ms=1_000 * job,
        ended_ms=1_000 * job,
    )


def hold(job: int, until: Path) -> None:
    """Let a job wait for a file when it has made its run."""
    make_run = MlflowStore._run

    def make_run_and_wait(
        store: MlflowStore, record: Record, experiment_id: str, parent_run_id: str | None
    ) -> str:
        run_id = make_run(store, record, experiment_id, parent_run_id)
        # The run of the workflow, which any job may make, is waited for by all.
        while record.name == f"job {job}" and not until.exists():
            time.sleep(0.05)
        return run_id

    MlflowStore._run = make_run_and_wait  # type: ignore[method-assign]


def run_job(job: int, uri: str, start: Barrier, held_until: Path | None) -> None:
    """Log one job, as soon as all others are ready to."""
    if held_until is not None:
        hold(job, held_until)
    logging.basicConfig(level=logging.WARNING, format=f"job {job}: %(message)s", stream=sys.stderr)
    folder = Path(f"results/export/job_{job}")
    record = job_record(job, folder)
    start.wait()
    track(record, folder, TrackingSettings(uri=uri, timeout_s=120))


if __name__ == "__main__":
    address, number = sys.argv[1], int(sys.argv[2])
    held = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("mlflow.pyfunc")  # warns of a class of MLflow's own
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(number)
    jobs = [
        context.Process(
            target=run_job,
            args=(job, address, barrier, Path(sys.argv[4]) if job < held else None),
        )
        for job in range(number)
    ]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    print(json.dumps([each.exitcode for each in jobs]))
