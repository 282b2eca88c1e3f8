"""A node is lost, drained, or cannot start a job."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[4]


def bring_back(cluster, node: str) -> None:
    """Make a node usable; one that is down may have come back by itself."""
    state = cluster.ask("sinfo", "--noheader", "--nodes", node, "--format", "%T")
    if state.startswith(("down", "drain")):
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")


def asked(study, job: str) -> str:
    """Ask of a run's job as Snakemake does, and have it start soon where it was released."""
    name = study.cluster.facts(job)["JobName"]
    question = ("--format=%i|%T", "--states=all", "--noheader", "--name", name)
    answer = subprocess.run(
        [REPOSITORY / "scripts/slurm/squeue", *question],
        cwd=study.folder,
        env=study.cluster.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    study.cluster.start_soon(job)
    return answer.stdout.strip()


def test_job_on_a_node_that_goes_down_is_queued_again_and_goes_on(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    node = cluster.facts(job)["NodeList"]
    try:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        # So early that the node may refuse it once more: then SLURM holds it.
        assert study.end_of(run, hastening=job) == 0, study.said
    finally:
        bring_back(cluster, node)
    assert study.is_complete
    # The node may be back before the job starts again, and take it once more.
    assert int(cluster.facts(job)["Restarts"]) >= 1
    assert study.said.count("has been submitted") == 1


def test_training_that_loses_one_of_its_nodes_is_queued_again_and_goes_on(
    cluster, study, lost_nodes
):
    study.configure(epochs=40, nodes=2)
    run = study.start()
    job = study.job_under_way()
    lost_nodes.freeze("cpu2")
    # SLURM finds out by itself, in a minute or two (SlurmdTimeout).
    cluster.wait_for(lambda: cluster.facts(job)["Restarts"] == "1", "a job that is queued again")
    lost_nodes.bring_back()
    assert study.end_of(run, hastening=job) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 1
    log = (study.folder / "results/logs/train_model/tiny/seed1.log").read_text()
    assert "rank 0: going on after epoch" in log


def test_job_that_a_node_could_not_start_is_released_and_the_run_ends_complete(
    cluster, study, mounted
):
    spool = cluster.folder / "spool"
    with mounted(spool / "cpu1", "ro"), mounted(spool / "cpu2", "ro"):
        run = study.start()
        job = study.held_job()
    assert study.end_of(run, hastening=job) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 1
    log = (study.folder / "results/logs/held.log").read_text()
    assert f" SLURM job {job} released: launch failed requeued held\n" in log


def test_job_that_no_node_can_start_is_told_so_in_one_line_and_a_second_start_completes(
    cluster, study, mounted
):
    spool = cluster.folder / "spool"
    with mounted(spool / "cpu1", "ro"), mounted(spool / "cpu2", "ro"):
        run = study.start()
        job = study.held_job()
        # Snakemake asks less and less often.
        study.trainings.wait_for(lambda: asked(study, job).endswith("|CANCELLED"), "giving up")
        assert study.end_of(run) == 1
    (reason,) = study.reasons
    assert f"(SLURM job {job}, attempt 1): its nodes failed to start it, again and again" in reason
    assert (study.folder / "results/logs/held.log").read_text().count(" released: ") == 3
    assert study.run() == 0, study.said
    assert study.is_complete


def test_job_on_a_node_that_is_drained_ends_there(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    node = cluster.facts(job)["NodeList"]
    try:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        assert study.end_of(run) == 0, study.said
    finally:
        bring_back(cluster, node)
    assert study.is_complete
    assert cluster.facts(job)["Restarts"] == "0"
