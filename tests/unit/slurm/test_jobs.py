"""What SLURM answers about jobs, read."""

from pathlib import Path

import pytest

from lamella.errors import SlurmError
from lamella.slurm.jobs import Source, duration_s, gpus_of, read_accounting, read_controller

ANSWERS = Path(__file__).parent / "answers"


def states(attempts):
    return [(each.number, each.state) for each in attempts]


def test_every_attempt_of_the_accounting_is_read_with_how_it_ended(accounting):
    assert states(read_accounting(accounting, counts_gpus=True)) == [
        ("1", "COMPLETED"),
        ("2", "FAILED"),
        ("3", "TIMEOUT"),
        ("4", "CANCELLED"),
        ("6", "REQUEUED"),
        ("7", "COMPLETED"),
        ("8", "COMPLETED"),
        ("9", "FAILED"),
        ("6", "COMPLETED"),
        # The job itself is called FAILED, its step OUT_OF_MEMORY.
        ("10", "OUT_OF_MEMORY"),
    ]


def test_memory_is_that_of_the_batch_step_and_the_largest_step_beside_it(accounting):
    first = read_accounting(accounting, counts_gpus=True)[0]
    assert first.max_rss_mib == pytest.approx((4276 + 132117) / 1024)
    assert (first.asked_mib, first.cpu_s, first.cores) == (500.0, 5.15, 2)
    assert (first.wall_s, first.limit_s, first.nodes) == (6.0, 60.0, "cpu1")
    assert (first.source, first.measured) == (Source.ACCOUNTING, Source.ACCOUNTING)


def test_memory_asked_for_two_nodes_is_that_of_each(accounting):
    two = next(each for each in read_accounting(accounting, counts_gpus=True) if each.number == "7")
    assert (two.nodes, two.node_count, two.cores) == ("cpu[1-2]", 2, 2)
    assert two.asked_mib == 700.0
    assert two.max_rss_mib == pytest.approx((4648 + 101476) / 1024)


def test_tasks_that_share_a_node_share_its_memory(accounting):
    # The same step with both tasks on one node.
    crowded = accounting.replace("7||cpu[1-2]|2|2|2|", "7||cpu1|1|2|2|")
    two = next(each for each in read_accounting(crowded, counts_gpus=True) if each.number == "7")
    assert two.max_rss_mib == pytest.approx((4648 + 2 * 101476) / 1024)


def test_job_on_a_gpu_has_its_gpus_and_who_cancelled_a_job_is_known(accounting):
    jobs = {each.number: each for each in read_accounting(accounting, counts_gpus=True)}
    assert {number: job.gpus for number, job in jobs.items() if job.gpus} == {"8": 1}
    assert {number: job.ended_by for number, job in jobs.items() if job.ended_by} == {"4": "0"}


def test_gpus_that_the_accounting_does_not_count_are_not_known(accounting):
    uncounted = accounting.replace("gres/gpu=1,", "")
    assert uncounted != accounting
    assert {each.gpus for each in read_accounting(uncounted, counts_gpus=False)} == {None}
    assert {each.gpus for each in read_accounting(uncounted, counts_gpus=True)} == {0}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SIGNALING", "SUSPENDED"])
def test_job_that_is_still_there_has_not_ended(accounting, state):
    first = read_accounting(
        accounting.replace("lamella_u1|COMPLETED", f"lamella_u1|{state}"), counts_gpus=True
    )[0]
    assert not first.is_over
    assert not first.is_complete
    assert read_accounting(accounting, counts_gpus=True)[0].is_over


def test_a_comment_may_hold_the_separator(accounting):
    odd = accounting.replace("rule_good", "rule_a|b")
    assert read_accounting(odd, counts_gpus=True)[0].comment == "rule_a|b"


def test_controller_knows_how_jobs_ended_but_not_what_they_used(controller):
    found = read_controller(controller)
    assert ("3", "TIMEOUT") in states(found)
    assert ("5", "CANCELLED") in states(found)
    assert len(found) == 9
    two = next(each for each in found if each.number == "7")
    assert (two.comment, two.folder, two.asked_mib) == ("rule_two", "/study", 700.0)
    assert (two.cpu_s, two.max_rss_mib, two.measured) == (None, None, Source.NOBODY)
    assert next(each for each in found if each.number == "8").gpus == 1


def test_gpus_that_a_job_asked_for_count_where_none_are_accounted_for():
    # --gpus 1; --gpus-per-node 1 on two nodes; --gres gpu:1; --gpus-per-task 1 of two tasks
    answer = (ANSWERS / "scontrol-gpus.txt").read_text()
    assert [each.gpus for each in read_controller(answer)] == [1, 2, 1, 2]
    typed = answer.replace("TresPerJob=gres:gpu:1", "TresPerJob=gres/gpu:a100=4")
    assert [each.gpus for each in read_controller(typed)] == [4, 2, 1, 2]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:05.150", 5.15), ("01:02:03", 3723.0), ("2-03:00:01", 183601.0), ("59:59", 3599.0)],
)
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ("cpu=4,gres/gpu:a100=2,gres/gpu=2,mem=8G", 2),
        ("gres/gpu:a100=1,gres/gpu:v100=2", 3),
        ("cpu=4,mem=8G", 0),
        ("", 0),
    ],
)
def test_gpus_are_counted_once(resources, gpus):
    assert gpus_of(resources) == gpus


@pytest.mark.parametrize("answer", ["", "Slurm accounting storage is disabled\n"])
def test_another_answer_is_refused(answer):
    with pytest.raises(SlurmError, match=r"sacct: SLURM's answer is not understood"):
        read_accounting(answer, counts_gpus=True)


def test_an_answer_of_odd_figures_is_refused(accounting, controller):
    with pytest.raises(SlurmError, match="not understood"):
        read_accounting(accounting.replace("|1795649066|", "|yesterday|"), counts_gpus=True)
    with pytest.raises(SlurmError, match="not understood"):
        read_controller(controller.replace("RunTime=", "Ran="))
