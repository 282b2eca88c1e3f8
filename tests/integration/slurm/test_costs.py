"""What jobs cost, as a SLURM with accounting tells it after a workflow through profiles/slurm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamella.slurm.cost_table import JobCost, read_costs
from lamella.slurm.costs import renew_costs
from lamella.slurm.jobs import Source

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.faults,
]

REPOSITORY = Path(__file__).parents[3]

WORKFLOW = """
import sys
from pathlib import Path

from lamella.report.costs import tell_run_costs
from lamella.tracking.workflow import start_workflow_run


rule all:
    input:
        "results/hungry.done",
        "results/torn.done",
        "results/pair.done",
        "results/seen.done",


rule hungry:
    output:
        touch("results/hungry.done"),
    benchmark:
        "results/timings/hungry.tsv"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 600 * attempt,
        runtime=30,
    shell:
        "python -c 'import time; x = bytearray(b\\"x\\") * (600 << 20); time.sleep(6)'"


rule open_slide:
    output:
        touch("results/{slide}.done"),
    wildcard_constraints:
        slide="torn",
    retries: 0
    shell:
        "python -c 'from lamella.errors import SlideError as E;"
        " raise E(\\"is torn\\", \\"a\\", \\"b\\")'"


rule on_two_nodes:
    output:
        touch("results/pair.done"),
    resources:
        nodes=2,
        mpi="srun",
        tasks=2,
    shell:
        "srun --ntasks=2 sleep 4"


rule on_gpu:
    output:
        touch("results/seen.done"),
    resources:
        slurm_partition="gpu",
        gpu=1,
    shell:
        "sleep 4"


onstart:
    start_workflow_run("study", {})


onerror:
    for line in tell_run_costs(Path("results")):
        print("costs:", line, file=sys.stderr)
"""


def run(cluster, folder: Path) -> str:
    """Run the workflow, of which one rule fails, and return what it says."""
    (folder / "Snakefile").write_text(WORKFLOW)
    words = [
        *(Path(sys.executable).with_name("snakemake"), "--profile", REPOSITORY / "profiles/slurm"),
        *("--default-resources", "slurm_account=lab", "slurm_partition=cpu"),
        *("mem_mb=600", "runtime=1", "--latency-wait", "5"),
        *("--slurm-init-seconds-before-status-checks", "5"),
    ]
    ended = subprocess.run(
        list(map(str, words)),
        cwd=folder,
        # As in an activated environment.
        env={
            **cluster.environment,
            "PATH": f"{Path(sys.executable).parent}:{cluster.environment['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    return ended.stderr


@pytest.fixture
def asked(cluster, monkeypatch):
    """Let this process ask the cluster."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    return cluster


def by_attempt(costs: list[JobCost]) -> dict[tuple[str, int], JobCost]:
    return {(cost.rule, cost.attempt): cost for cost in costs}


def has_accounting(cluster) -> bool:
    answer = subprocess.run(
        ["sacct"], env=cluster.environment, capture_output=True, text=True, check=False
    )
    return answer.returncode == 0


@pytest.mark.timeout(300)
def test_costs_and_reasons_of_every_attempt_are_told_when_the_workflow_ends(asked, tmp_path):
    accounted = has_accounting(asked)
    said = run(asked, tmp_path)
    costs = by_attempt(read_costs(tmp_path / "results"))
    assert {key: (cost.job.state, cost.wildcards) for key, cost in costs.items()} == {
        # Without control groups SLURM calls this FAILED.
        ("hungry", 1): ("FAILED", ""),
        ("hungry", 2): ("COMPLETED", ""),
        ("open_slide", 1): ("FAILED", "torn"),
        ("on_two_nodes", 1): ("COMPLETED", ""),
        ("on_gpu", 1): ("COMPLETED", ""),
    }
    first, second = costs["hungry", 1], costs["hungry", 2]
    assert first.reason.startswith("out of memory: 600 MiB asked for")
    assert costs["open_slide", 1].reason == "a: is torn. b."
    assert (costs["on_two_nodes", 1].job.nodes, costs["on_gpu", 1].job.gpus) == ("cpu[1-2]", 1)
    assert costs["on_two_nodes", 1].job.asked_mib == 600
    assert (first.job.asked_mib, second.job.asked_mib, second.job.cores) == (600, 1200, 4)
    log = tmp_path / f"results/logs/slurm/rule_hungry/{second.job.number}.log"
    assert log.exists()
    assert (
        f"costs: open_slide torn, attempt 1, job {costs['open_slide', 1].job.number}: a: is" in said
    )
    assert "costs: hungry: time: 30 min asked for" in said
    # The 600 MiB of the program itself, and Snakemake's own.
    assert second.job.max_rss_mib is not None
    assert 600 < second.job.max_rss_mib < 1200
    assert 4 < second.job.wall_s < 90
    source = Source.ACCOUNTING if accounted else Source.CONTROLLER
    assert {cost.job.source for cost in costs.values()} == {source}
    measured = Source.ACCOUNTING if accounted else Source.TIMINGS
    assert second.job.measured is measured


@pytest.mark.timeout(300)
def test_job_that_is_cancelled_or_queued_again_keeps_its_attempts(
    asked, trainings, tmp_path, monkeypatch
):
    if not has_accounting(asked):
        pytest.skip("the test cluster has no accounting; LAMELLA_SLURM_ACCOUNTING=1 gives it")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/logs/slurm").mkdir(parents=True)
    shared = (
        "sbatch",
        "--parsable",
        "--account=lab",
        "--time=1",
        "--mem=100",
        f"--chdir={tmp_path}",
    )
    script = tmp_path / "job"
    script.write_text('#!/bin/sh\n[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 60\n')
    jobs = {}
    for rule in ("cancelled", "again"):
        name = ("--job-name=lamella_1", f"--comment=rule_{rule}_wildcards_a")
        folder = tmp_path / f"results/logs/slurm/rule_{rule}/a"
        folder.mkdir(parents=True)
        jobs[rule] = asked.ask(*shared, *name, "--requeue", f"--output={folder}/%j.log", script)
        trainings.wait_for(
            lambda number=jobs[rule]: asked.facts(number)["JobState"] == "RUNNING", "a start"
        )
    asked.ask("scancel", jobs["cancelled"])
    asked.ask("scontrol", "requeue", jobs["again"])
    asked.hasten(jobs["again"])
    assert asked.wait(jobs["again"]) == "0:0"
    costs = [
        (cost.rule, cost.attempt, cost.job.number, cost.job.state, cost.reason)
        for cost in renew_costs(tmp_path / "results")
    ]
    user = "root" if os.getuid() == 0 else ""
    assert sorted(costs) == [
        ("again", 1, jobs["again"], "REQUEUED", "queued again (cpu1)"),
        ("again", 2, jobs["again"], "COMPLETED", ""),
        ("cancelled", 1, jobs["cancelled"], "CANCELLED", f"cancelled by {user}"),
    ]
