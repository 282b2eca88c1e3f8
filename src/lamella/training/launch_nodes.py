"""Start the ranks of a training by a program of the site's, on several nodes or on this one.

Needs a folder for results, patches and ``.venv`` that all nodes see. ``srun`` needs no ssh and no
MPI; the others: ``lamella.training.site_launchers``.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence

from lamella.errors import TrainingError
from lamella.slurm.job import hosts, in_job, this_job
from lamella.slurm.settings import Launcher
from lamella.training.launch import MEMORY, noting_signals
from lamella.training.meeting_place import meeting_of_nodes
from lamella.training.network import address_of, address_towards
from lamella.training.seat import HOSTS_VARIABLE, STARTED_BY_VARIABLE
from lamella.training.settings import TrainingSettings
from lamella.training.site_launchers import Order, site_launcher
from lamella.training.step import run_ranks

_logger = logging.getLogger(__name__)

_HERE = ("localhost",)
"""What a node is called outside a job."""


def launch_on_nodes(
    command: Sequence[str],
    training: TrainingSettings,
    *,
    threads: int,
    launcher: Launcher = Launcher.SRUN,
) -> None:
    """Run a program as ranks of one group on the nodes of this SLURM job, and wait for all.

    With one node it runs here, in a job or not. What the ranks print is logged. The ranks end when
    this process ends, whatever ends it. SIGUSR1 and SIGTERM are passed on as by
    ``lamella.training.launch.launch_training``.

    Args:
        command: Program and arguments; it must call ``take_seat`` and ``join_group``.
        training: Nodes, processes, backend and limits.
        threads: Threads per rank for arithmetic.
        launcher: What starts the ranks.

    Raises:
        TrainingError: the launcher is not here, this is no SLURM job with enough nodes and cores,
            or a rank ended with another code than 0; the others were ended.
        SystemExit: code ``EXIT_STOPPED`` when the ranks have stopped and kept their state; 143 when
            they did not in time after SIGTERM.
    """
    names = _hosts(training, threads) if training.nodes > 1 else _this_node(launcher)
    order = Order(
        hosts=names,
        each=training.processes_per_node,
        threads=threads,
        start_limit_s=training.start_limit_s,
        address=_address(training, names),
    )
    chosen = site_launcher(launcher, training)
    with noting_signals() as stop, _meeting(training, order, launcher) as variables:
        ours = {
            # Those that somebody has set already stay as they are.
            **{name: os.environ.get(name, value) for name, value in MEMORY.items()},
            **variables,
            **chosen.for_ranks,
            STARTED_BY_VARIABLE: launcher.value,
            HOSTS_VARIABLE: ",".join(order.hosts),
            "OMP_NUM_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
        }
        run_ranks(command, chosen, order, ours, stop)


def _this_node(launcher: Launcher) -> Sequence[str]:
    """Return this machine by the name that its launcher knows it by."""
    name = os.environ.get("SLURMD_NODENAME")
    # horovodrun would want ssh where a name leads to an address that is not that of loopback.
    return [name] if name and launcher is Launcher.MPIRUN else _HERE


def _hosts(training: TrainingSettings, threads: int) -> list[str]:
    """Return the nodes to use, of which this is the first."""
    asked = f"training.nodes: {training.nodes}"
    remedy = (
        f"Ask for them: sbatch --nodes {training.nodes} --ntasks-per-node"
        f" {training.processes_per_node} --cpus-per-task {threads}, or snakemake --profile"
        " profiles/slurm; or set nodes: 1"
    )
    if not in_job():
        raise TrainingError("several nodes need a SLURM job, and this is none", asked, remedy)
    job = this_job()
    names = hosts(job.node_list)
    cores = training.processes * threads
    if len(names) < training.nodes or job.cpus < cores:
        raise TrainingError(
            f"SLURM job {job.number} has {len(names)} nodes and {job.cpus} cores, which is less"
            f" than {training.nodes} and {cores}",
            asked,
            remedy,
        )
    here = os.environ.get("SLURMD_NODENAME", "no node of the job")
    if here != names[0]:
        raise TrainingError(
            f"the training was started on {here} and not on {names[0]}, the first node of SLURM"
            f" job {job.number}",
            asked,
            "Start it by sbatch, or by srun --overlap --nodes 1 --ntasks 1",
        )
    return names[: training.nodes]


@contextlib.contextmanager
def _meeting(
    training: TrainingSettings, order: Order, launcher: Launcher
) -> Iterator[dict[str, str]]:
    """Open the place where the ranks find each other, unless the launcher opens it.

    Yields:
        The environment variables that are equal for all ranks.
    """
    if launcher is Launcher.HOROVODRUN:
        # Imported here: the other backend is for sites where Horovod cannot be built.
        from lamella.training.horovod_meeting import horovod_habits

        yield horovod_habits(order.start_limit_s)
        return
    with meeting_of_nodes(
        training.backend,
        order.hosts,
        order.ranks,
        address=order.address,
        start_limit_s=order.start_limit_s,
        exchange_limit_s=training.exchange_limit_s,
    ) as variables:
        _logger.info("ranks on %s meet at %s", ", ".join(order.hosts), order.address)
        yield variables


def _address(training: TrainingSettings, names: Sequence[str]) -> str:
    """Return the address by which the other nodes reach this one."""
    if training.network_interface:
        return address_of(training.network_interface)
    return address_towards(names[1]) if len(names) > 1 else "127.0.0.1"
