"""What of a training on several nodes needs no SLURM; the rest: tests/integration/slurm."""

import logging
import os
import socket
import subprocess
import sys

import psutil
import pytest
from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

from lamella.errors import TrainingError
from lamella.training.launch_nodes import launch_on_nodes
from lamella.training.meeting_place import Numbers, meeting_of_nodes
from lamella.training.network import address_of, address_towards, interface_of
from lamella.training.seat import take_seat
from lamella.training.settings import Backend, TrainingSettings
from lamella.training.time_limit import kept_within_time_limit

TWO_NODES = TrainingSettings(backend=Backend.HOROVOD, processes=4, nodes=2)


def test_outside_a_job_several_nodes_are_refused_with_what_to_ask_for(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(TrainingError) as error:
        launch_on_nodes(["true"], TWO_NODES, threads=3)
    assert str(error.value) == (
        "training.nodes: 2: several nodes need a SLURM job, and this is none."
        " Ask for them: sbatch --nodes 2 --ntasks-per-node 2 --cpus-per-task 3, or snakemake"
        " --profile profiles/slurm; or set nodes: 1."
    )


def test_numbers_of_ranks_on_several_nodes_are_those_that_horovodrun_gives():
    slots = get_host_assignments(parse_hosts("n1:2,n2:2,n3:2"), 6)
    for slot in slots:
        numbers = Numbers(slot.rank, 6, slot.rank % 2, 2, slot.rank // 2, 3)
        assert numbers.variables(Backend.HOROVOD) == {
            "HOROVOD_RANK": str(slot.rank),
            "HOROVOD_SIZE": str(slot.size),
            "HOROVOD_LOCAL_RANK": str(slot.local_rank),
            "HOROVOD_LOCAL_SIZE": str(slot.local_size),
            "HOROVOD_CROSS_RANK": str(slot.cross_rank),
            "HOROVOD_CROSS_SIZE": str(slot.cross_size),
        }


def test_rank_of_a_step_takes_its_seat_from_what_srun_says(monkeypatch):
    said = {
        "LAMELLA_STARTED_BY": "srun",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURMD_NODENAME": "n2",
    }
    environment = dict(said)
    monkeypatch.setattr("os.environ", environment)
    take_seat(TWO_NODES.model_copy(update={"backend": Backend.TORCH, "start_limit_s": 11}))
    assert {key: value for key, value in environment.items() if key not in said} == {
        "LAMELLA_EXCHANGE_LIMIT_S": "1800",
        "LAMELLA_START_LIMIT_S": "11",
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "=lo",
    }


def test_rank_that_another_launcher_started_keeps_its_seat(monkeypatch):
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LAMELLA_EXCHANGE_LIMIT_S": "7"}
    monkeypatch.setattr("os.environ", environment)
    take_seat(TWO_NODES)
    assert environment == {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LAMELLA_EXCHANGE_LIMIT_S": "7",
        "LAMELLA_START_LIMIT_S": "300",
    }


@pytest.mark.parametrize(
    ("backend", "port"),
    [(Backend.TORCH, "MASTER_PORT"), (Backend.HOROVOD, "HOROVOD_GLOO_RENDEZVOUS_PORT")],
)
def test_place_of_several_nodes_is_open_at_the_given_address_only(backend, port):
    with meeting_of_nodes(
        backend, ["n1", "n2"], 4, address="127.0.0.2", start_limit_s=5, exchange_limit_s=6
    ) as variables:
        assert "127.0.0.2" in variables.values()
        taken = int(variables[port])
        with pytest.raises(OSError, match="Address already in use"):
            socket.create_server(("127.0.0.2", taken))
        # A server on all networks would be in the way here.
        socket.create_server(("127.0.0.3", taken)).close()


def test_way_to_another_node_has_this_nodes_address_and_interface():
    assert address_towards("127.0.0.1") == "127.0.0.1"
    for interface, addresses in psutil.net_if_addrs().items():
        own = [each.address for each in addresses if each.family is socket.AF_INET]
        for address in own:
            assert interface_of(address) == interface
        if own:
            assert address_of(interface) == own[0]


def test_name_without_address_asks_for_an_interface():
    with pytest.raises(TrainingError, match=r"node no.such.invalid cannot be reached.*interface"):
        address_towards("no.such.invalid")


def test_unknown_interface_is_refused_with_those_that_are_here():
    with pytest.raises(TrainingError, match=r"no network interface 'ib7'.*Take one of \[.*'lo'"):
        address_of("ib7")


@pytest.mark.parametrize("requeue", [True, False])
def test_where_slurm_cannot_be_asked_a_stopped_training_keeps_its_exit_code(
    monkeypatch, caplog, requeue
):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", "")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(SystemExit) as stopped,
        kept_within_time_limit(10, requeue=requeue),
    ):
        raise SystemExit(75)
    assert stopped.value.code == 75
    assert caplog.text.count("the time limit of the SLURM job is not known") == 1
    assert caplog.text.count("the job is not queued again") == int(requeue)


def test_training_whose_job_is_ended_while_it_is_queued_again_tells_so(tmp_path):
    facts = "NodeList=n1 NumCPUs=1 EndTime=2000000000 TimeLimit=1-00:00:00 BatchFlag=1 Requeue=1"
    scontrol = tmp_path / "scontrol"
    # As SLURM does, it ends all processes of the job before it has answered.
    scontrol.write_text(
        f"#!/bin/sh\n[ $1 != show ] || exec echo JobId=7 JobState=RUNNING {facts}\n"
        "kill $PPID $$\nsleep 0.3\n"
    )
    scontrol.chmod(0o755)
    program = f"""
import logging
from {kept_within_time_limit.__module__} import kept_within_time_limit
logging.basicConfig(level=logging.INFO)
with kept_within_time_limit(10, requeue=True):
    raise SystemExit(75)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert "SLURM job 7 goes back to the queue" in ended.stderr
    assert ended.returncode == 75
