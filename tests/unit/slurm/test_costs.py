"""The table of what jobs cost: who says it, what is kept, and why attempts failed."""

import os

import pytest

from lamella.cli import main
from lamella.slurm.cost_table import read_costs
from lamella.slurm.costs import renew_costs
from lamella.slurm.jobs import Source
from lamella.stores.tables import read_table

SUBMITTED_S = 1795649066
KILLED = "slurmstepd: error: StepId=2.0 exceeded memory limit (428876800 > 104857600), being killed"


@pytest.fixture
def root(tmp_path, accounting, controller, slurm_says):
    """A results folder with the logs that Snakemake's jobs of the answers have."""
    here = str(tmp_path.resolve())
    slurm_says(
        sacct=accounting.replace("/study", here), scontrol=controller.replace("/study", here)
    )
    results = tmp_path / "results"
    for number, (place, text) in enumerate(
        (
            ("rule_good", ""),
            ("rule_big/a", KILLED),
            ("rule_slow", "DUE TO TIME LIMIT"),
            ("rule_cancelled", ""),
        ),
        start=1,
    ):
        write_log(results, f"{place}/{number}", text)
    return results


def write_log(results, place, text=""):
    path = results / "logs/slurm" / f"{place}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (SUBMITTED_S + 20, SUBMITTED_S + 20))


def by_job(costs):
    return {(cost.job.number, cost.job.state): cost for cost in costs}


def test_each_attempt_has_its_rule_number_and_reason(root):
    costs = by_job(renew_costs(root))
    assert [
        (number, cost.rule, cost.wildcards, cost.attempt, cost.reason)
        for (number, _), cost in costs.items()
    ] == [
        ("1", "good", "", 1, ""),
        ("2", "big", "a", 1, "out of memory: 100 MiB asked for, 413 MiB seen"),
        ("3", "slow", "", 1, "time limit of 1 min"),
        ("4", "cancelled", "", 1, "cancelled by root"),
        ("6", "again", "", 1, "queued again (cpu2)"),
        ("7", "two", "", 1, ""),
        ("8", "gpu", "", 1, ""),
        ("9", "fail", "", 1, "exit code 3"),
        ("6", "again", "", 2, ""),
        ("10", "big", "a", 2, "out of memory: 100 MiB asked for, 1 MiB seen"),
    ]
    assert [cost.is_failed for cost in costs.values()].count(True) == 5


def test_hours_are_those_of_nodes_cores_and_gpus(root):
    costs = by_job(renew_costs(root))
    two, gpu = costs["7", "COMPLETED"], costs["8", "COMPLETED"]
    assert two.node_hours == two.core_hours == pytest.approx(7 * 2 / 3600)
    assert (two.gpu_hours, gpu.gpu_hours) == (0.0, pytest.approx(5 / 3600))
    assert costs["1", "COMPLETED"].cpu_efficiency == pytest.approx(5.15 / (6 * 2))


def test_gpu_hours_are_not_known_where_the_accounting_counts_no_gpus(
    root, accounting, slurm_says, capsys
):
    uncounted = accounting.replace("/study", str(root.parent)).replace("gres/gpu=1,", "")
    slurm_says(sacct=uncounted, config="AccountingStorageTRES   = cpu,mem,billing\n")
    assert {cost.gpu_hours for cost in renew_costs(root)} == {None}
    assert {cost.gpu_hours for cost in read_costs(root)} == {None}
    assert main(["costs", str(root)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("gpu "))
    # Jobs, failed ones, hours of nodes, cores and GPUs.
    assert line.split()[1:6] == ["1", "0", "0.00", "0.00", "–"]
    (row,) = (row for row in read_table(root / "jobs/rules.tsv") if row["rule"] == "gpu")
    assert row["gpu_hours"] == ""


def test_table_is_read_back_as_it_was_written(root):
    costs = renew_costs(root)
    again = read_costs(root)
    assert [(c.rule, c.wildcards, c.attempt, c.reason) for c in again] == [
        (c.rule, c.wildcards, c.attempt, c.reason) for c in costs
    ]
    assert [c.job.submitted_s for c in again] == [c.job.submitted_s for c in costs]
    row = read_table(root / "jobs/jobs.tsv")[1]
    assert (row["job"], row["state"], row["nodes"], row["asked_mib"]) == (
        "2",
        "FAILED",
        "cpu1",
        "100",
    )
    assert (row["max_rss_mib"], row["limit_s"], row["source"]) == ("413", "60", "sacct")


def test_jobs_of_other_folders_and_other_programs_are_left_out(root, accounting, slurm_says):
    here = str(root.parent.resolve())
    text = accounting.replace("/study", here)
    text += (
        text.splitlines()[1].replace("1|lamella_u1", "77|lamella_u9").replace(here, "/other") + "\n"
    )
    text += text.splitlines()[1].replace("1|lamella_u1", "78|jupyter") + "\n"
    slurm_says(sacct=text)
    numbers = {cost.job.number for cost in renew_costs(root)}
    assert "1" in numbers
    assert not {"77", "78"} & numbers


def test_without_accounting_it_is_said_who_knows_what(root, slurm_says):
    slurm_says(sacct=None)
    write_log(root, "rule_forgotten/x/900")
    timings = root / "timings/good.tsv"
    timings.parent.mkdir()
    timings.write_text("s\tmax_rss\tcpu_time\n5.5\t130.0\t4.4\n")
    costs = {cost.job.number: cost for cost in renew_costs(root)}
    good, failed, forgotten = costs["1"], costs["2"], costs["900"]
    assert (good.job.source, good.job.measured) == (Source.CONTROLLER, Source.TIMINGS)
    assert (good.job.wall_s, good.job.cpu_s, good.job.max_rss_mib) == (6.0, 4.4, 130.0)
    assert (failed.job.measured, failed.job.max_rss_mib) == (Source.NOBODY, None)
    assert failed.reason == "out of memory: 100 MiB asked for"
    assert (forgotten.rule, forgotten.wildcards, forgotten.job.source) == (
        "forgotten",
        "x",
        Source.LOG,
    )
    assert forgotten.reason == "forgotten by SLURM, which has no accounting here"


def test_what_slurm_forgets_stays_in_the_table(root, slurm_says):
    before = renew_costs(root)
    slurm_says(sacct=None, scontrol="")
    after = renew_costs(root)
    assert [(c.job.number, c.job.state, c.reason) for c in after] == [
        (c.job.number, c.job.state, c.reason) for c in before
    ]
    assert {c.job.source for c in after} == {Source.ACCOUNTING}


def test_job_without_a_log_is_known_by_its_comment_or_its_name(root, accounting, slurm_says):
    here = str(root.parent.resolve())
    header, *_ = accounting.splitlines()
    line = "{}|{}|{}|0:0|1795649066|1795649068|1795649074|6|240|cpu1|1|4||00:01||8G|cpu=4|{}|{}"
    rows = (
        line.format("20", "lamella_u1", "COMPLETED", here, "rule_train_model_wildcards_thin_1"),
        line.format("21", "lamella-segment_tissue-0a1b2c3d", "CANCELLED by 0", here, ""),
        line.format("23", "lamella-segment_tissue-0a1b2c3d4e5f6071", "COMPLETED", here, ""),
        line.format("22", "lamella_u1", "COMPLETED", here, ""),
    )
    slurm_says(sacct="\n".join((header, *rows)) + "\n")
    costs = {cost.job.number: cost for cost in renew_costs(root)}
    assert (costs["20"].rule, costs["20"].wildcards) == ("train_model", "thin_1")
    assert (costs["21"].rule, costs["21"].wildcards) == ("segment_tissue", "worker")
    # A stage ends its workers when it is done.
    assert (costs["21"].is_good, costs["21"].reason) == (True, "")
    # Another worker is no second try.
    assert (costs["21"].attempt, costs["23"].attempt) == (1, 1)
    assert costs["22"].rule == "unknown"
    assert costs["20"].job.asked_mib == 8192.0


def test_logs_of_workers_tell_their_stage(root, accounting, slurm_says):
    write_log(root, "fleet/segment_tissue/9")
    costs = {cost.job.number: cost for cost in renew_costs(root)}
    assert (costs["9"].rule, costs["9"].wildcards) == ("segment_tissue", "worker")


def test_reason_is_the_error_that_the_job_itself_has_told(root):
    said = "Traceback\nlamella.errors.SlideError: a.svs: is torn. Mend it.\nsrun: error: cpu2\n"
    write_log(root, "rule_fail/9", said)
    costs = {cost.job.number: cost for cost in renew_costs(root)}
    assert costs["9"].reason == "a.svs: is torn. Mend it."


def test_folder_in_which_no_job_ever_ran_gets_no_table(tmp_path, accounting, slurm_says):
    # Where nothing was submitted nobody is asked, whatever there is to tell.
    slurm_says(sacct=accounting.replace("/study", str(tmp_path.resolve())), scontrol="")
    assert renew_costs(tmp_path / "results", SUBMITTED_S) == []
    assert not (tmp_path / "results").exists()
    (tmp_path / "results/logs/slurm").mkdir(parents=True)
    assert len(renew_costs(tmp_path / "results", SUBMITTED_S)) == 10
    assert renew_costs(tmp_path / "others", SUBMITTED_S) == []


def test_slurm_that_does_not_answer_costs_one_line(root, slurm_says, caplog):
    slurm_says(sacct=None, scontrol=None)
    states = {cost.job.state for cost in renew_costs(root)}
    assert states == {"UNKNOWN"}
    (record,) = (each for each in caplog.records if each.levelname == "WARNING")
    assert "scontrol show job -o: SLURM does not answer" in record.message
    assert "\n" not in record.message


def test_command_prints_rules_reasons_and_hints_and_writes_both_tables(root, capsys):
    assert main(["costs", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["good", "1", "0"]
    assert "slow, attempt 1, job 3: time limit of 1 min" in lines
    assert any(line.startswith("big: memory: 2 attempts had too little") for line in lines)
    rules = {row["rule"]: row for row in read_table(root / "jobs/rules.tsv")}
    assert (rules["again"]["jobs"], rules["again"]["attempts"], rules["again"]["failed"]) == (
        "1",
        "2",
        "0",
    )
    assert len(read_costs(root)) == 10
