"""What rules cost, and the hints where ask and use differ."""

from dataclasses import replace

import pytest

from lamella.config import Config
from lamella.slurm.cost_table import JobCost
from lamella.slurm.jobs import Attempt, Source
from lamella.slurm.rule_costs import RuleCost, by_rule, cost_lines, write_rule_costs
from lamella.stores.tables import read_table

GOOD = Attempt(
    number="5",
    name="lamella_u1",
    comment="",
    folder="/study",
    state="COMPLETED",
    ended_by="",
    exit_code="0:0",
    submitted_s=1795649066.0,
    ended_s=1795652666.0,
    wall_s=3600.0,
    limit_s=7200.0,
    nodes="cpu1",
    node_count=1,
    cores=4,
    cpu_s=3600.0 * 3,
    max_rss_mib=3000.0,
    asked_mib=4000.0,
    gpus=0,
    source=Source.ACCOUNTING,
    measured=Source.ACCOUNTING,
)


def cost(rule="join_cohort", *, reason="", wildcards="", **changes):
    return JobCost(rule, wildcards, replace(GOOD, **changes), reason)


def hints(*costs):
    (rule,) = by_rule(costs)
    return rule.hints


def test_ask_that_fits_gives_no_hint():
    assert hints(cost()) == []


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        (
            {"limit_s": 7260.0},
            "time: 121 min asked for, 60.0 used at most; "
            "`set-resources: join_cohort: runtime` of the profile: 90 would do",
        ),
        (
            {"asked_mib": 8000.0},
            "memory: 8000 MiB asked for on a node, 3000 used at most; "
            "`set-resources: join_cohort: mem_mb` of the profile: 3900 would do",
        ),
        (
            {"cpu_s": 3600.0 * 1.9},
            "cores: 4 asked for, 1.9 busy on average; "
            "`set-threads: join_cohort` of the profile: 2 would do",
        ),
        (
            {"max_rss_mib": 8100.0},
            "memory: 8100 MiB used on a node, 4000 asked for; "
            "ask by `set-resources: join_cohort: mem_mb` of the profile",
        ),
        (
            {"cpu_s": 3600.0 * 8.4},
            "cores: 8.4 busy on average, 4 asked for; "
            "ask by `set-threads: join_cohort` of the profile",
        ),
    ],
)
def test_ask_and_use_that_differ_by_more_than_twice_give_a_hint(changes, hint):
    assert hints(cost(**changes)) == [hint]


def test_hint_rests_on_the_job_that_needed_most():
    assert hints(cost(wall_s=60.0, cpu_s=180.0, number="4"), cost()) == []
    assert hints(cost(max_rss_mib=100.0, number="4"), cost()) == []


def test_hint_rests_on_the_last_run_alone():
    before = cost(name="lamella_u0", asked_mib=90000.0, number="1")
    assert hints(before, cost()) == []
    assert len(hints(cost(), before)) == 1


@pytest.mark.parametrize("wildcards", ["", "worker"])
def test_memory_of_workers_has_no_figure_for_one_may_need_more_than_its_share(wildcards):
    stage = cost("extract_patches", wildcards=wildcards, asked_mib=8704.0)
    assert hints(stage) == [
        "memory: 8704 MiB asked for on a node, 3000 used at most; "
        "ask for less by `fleet.worker_memory_mib`"
    ]


def test_short_limits_and_little_memory_are_not_worth_a_hint():
    assert hints(cost(wall_s=5.0, limit_s=600.0, cpu_s=1.0)) == []
    assert hints(cost(max_rss_mib=90.0, asked_mib=900.0)) == []


def test_attempts_that_had_too_little_give_a_hint():
    killed = cost(state="OUT_OF_MEMORY", reason="out of memory: 2000 MiB asked for", number="4")
    late = cost(state="TIMEOUT", reason="time limit of 2 min", number="3")
    assert hints(killed, late, cost()) == [
        "memory: 1 attempt had too little; ask for more by "
        "`set-resources: join_cohort: mem_mb` of the profile",
        "time: 1 attempt had too little; ask for more by "
        "`set-resources: join_cohort: runtime` of the profile",
    ]


def test_hints_name_settings_that_there_are():
    config = Config()
    (memory,) = hints(cost("extract_patches", asked_mib=8000.0))
    assert "`fleet.worker_memory_mib`" in memory
    assert config.fleet.worker_memory_mib
    (cores,) = hints(cost("segment_tissue", cpu_s=10.0))
    assert "`fleet.max_workers`" in cores
    assert config.fleet.max_workers
    (cores,) = hints(cost("check_parity", cpu_s=10.0))
    assert "`parity.threads`" in cores
    assert config.parity.threads
    (cores,) = hints(cost("train_model", cpu_s=10.0))
    assert "`threads` of the run in `training.runs`" in cores


def test_engine_that_has_a_node_for_itself_and_workers_give_no_hint_of_cores():
    assert hints(cost("benchmark_engine", cpu_s=10.0)) == []
    assert hints(cost("segment_tissue", wildcards="worker", cpu_s=10.0, limit_s=9e9)) == []


def test_rule_sums_its_attempts_and_workers_stand_apart(tmp_path):
    rules = by_rule(
        [
            cost("segment_tissue", gpus=2),
            cost("segment_tissue", state="FAILED", reason="exit code 3", cpu_s=0.0, number="6"),
            cost("segment_tissue", state="REQUEUED", reason="queued again", cpu_s=None, number="6"),
            cost("segment_tissue", wildcards="worker", state="CANCELLED"),
        ]
    )
    assert [rule.rule for rule in rules] == ["segment_tissue", "segment_tissue (workers)"]
    stage = rules[0]
    assert (stage.jobs, len(stage.costs), stage.failed) == (2, 3, 1)
    assert (stage.node_hours, stage.core_hours, stage.gpu_hours) == (3.0, 12.0, 2.0)
    # 3 of 8 core hours; the attempt of which nothing is known does not count.
    assert stage.cpu_efficiency == pytest.approx(3 / 8)
    write_rule_costs(tmp_path / "rules.tsv", rules)
    row = read_table(tmp_path / "rules.tsv")[0]
    assert (row["rule"], row["failed"], row["core_hours"]) == ("segment_tissue", "1", "12.0000")


def test_lines_name_the_rule_the_job_and_the_reason():
    failed = cost("train_model", wildcards="thin_1", state="FAILED", reason="torn", number="4")
    lines = list(cost_lines([failed, cost("train_model", wildcards="thin_1")]))
    assert lines[1].split() == [
        *("train_model", "2", "1", "2.00", "8.00", "0.00", "75", "%"),
        *("3000", "of", "4000", "MiB"),
    ]
    assert lines[2] == "train_model thin_1, attempt 1, job 4: torn"
    assert list(cost_lines([])) == ["no SLURM job is known of these results"]


def test_nothing_known_is_not_taken_for_nothing_used():
    unknown = RuleCost("a", [cost(cpu_s=None, max_rss_mib=None)])
    assert (unknown.cpu_efficiency, unknown.max_rss_mib) == (None, None)
    assert unknown.hints == []
