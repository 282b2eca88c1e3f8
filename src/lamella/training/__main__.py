r"""Train one network for one seed: the program that the rule ``train_model`` starts.

::

    python -m lamella.training \
        --index results/patches/index.parquet \
        --output results/train/resnet50/seed1 \
        --run resnet50 --seed 1 \
        --settings '<JSON of TrainingSettings.for_run("resnet50")>' \
        --tracking '<JSON of TrackingSettings>' \
        --log results/logs/train_model/resnet50/seed1.log

A run that learns columns of the slide table needs ``--slides results/cohort/slides.tsv``, too.

Writes ``best.pt``, ``history.tsv``, ``predictions.parquet``, ``pictures/`` and, last,
``metrics.json`` into the output folder, and keeps its resumable state in ``state/`` there. With
``backend: none`` the network is trained in this process; else this process starts
``training.processes`` ranks of itself (``python -m lamella.training.rank``, the same arguments),
here or, with ``training.nodes``, on the nodes of its SLURM job, by itself or by ``--launcher``; it
logs what they say and ends them all when one dies. SIGUSR1 and SIGTERM ask it to keep its state
after the next step and to end. In a SLURM job it does so by itself before the time limit; with
``--requeue``, for a job that is there for this training alone, the job then goes back to the queue.
With ``--container IMAGE`` the ranks, or with ``backend: none`` the only one, run in that image;
this process asks SLURM outside it.

Exit codes: 0; 1 for an error whose line stands in the log; 75 when a signal has stopped it and it
goes on when started again; 128 + n after another signal n, or where it could not stop in time.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lamella.datasets.targets import read_targets
from lamella.logs import start_job_log
from lamella.patches.index import read_index
from lamella.slurm.container import python_in
from lamella.slurm.settings import Launcher
from lamella.training.arguments import Arguments, read_arguments
from lamella.training.checks import check_shards, check_trainable
from lamella.training.settings import Backend, Framework
from lamella.training.time_limit import kept_within_time_limit

RANK = (sys.executable, "-m", "lamella.training.rank")
"""The program that a rank runs; in a container the image's Python does."""


def main(words: Sequence[str]) -> None:
    """Train as the command line says.

    Raises:
        LamellaError: the training cannot start or go on.
    """
    arguments = read_arguments(words)
    start_job_log(arguments.log)
    # Before any process is started: a wrong table is told once, and at once.
    index, run = read_index(arguments.index), arguments.training.runs[arguments.run]
    targets = read_targets(run.target, index, arguments.slides)
    check_trainable(index, targets, run, arguments.training)
    check_shards(index)
    margin_s = arguments.training.stop_before_limit_s
    with kept_within_time_limit(margin_s, requeue=arguments.requeue):
        if arguments.training.backend is Backend.NONE and arguments.container is None:
            _train_here(arguments)
        else:
            _launch(arguments, words)


def _train_here(arguments: Arguments) -> None:
    # Read by the arithmetic libraries when they are loaded, which is in the next line.
    os.environ["OMP_NUM_THREADS"] = str(arguments.training.runs[arguments.run].threads)
    from lamella.training.train import train_as_asked

    train_as_asked(arguments)


def _launch(arguments: Arguments, words: Sequence[str]) -> None:
    from lamella.training.device import check_device
    from lamella.training.launch import launch_training
    from lamella.training.launch_nodes import launch_on_nodes

    training = arguments.training
    run = training.runs[arguments.run]
    if run.framework is Framework.TORCH:
        from lamella.models.networks import check_network

        check_network(run.model)
    check_device(run, training)
    command = [*_rank_program(arguments.container), *words]
    launcher = arguments.launcher
    if training.nodes > 1 or launcher is not Launcher.SRUN:
        launch_on_nodes(command, training, threads=run.threads, launcher=launcher)
        return
    launch_training(
        command,
        training.processes,
        backend=training.backend,
        threads=run.threads,
        start_limit_s=training.start_limit_s,
        exchange_limit_s=training.exchange_limit_s,
    )


def _rank_program(image: Path | None) -> list[str]:
    return [*RANK] if image is None else [*python_in(image), *RANK[1:]]


if __name__ == "__main__":
    main(sys.argv[1:])
