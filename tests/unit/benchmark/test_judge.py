import pytest

from lamella.benchmark.cell import BatchResult, Figure, Measurement, ScenarioResult
from lamella.benchmark.judge import accuracy_reason, broken_rules, judge
from lamella.benchmark.settings import BenchmarkSettings, Scenario
from lamella.engines.verdict import Verdict
from lamella.settings import Device

GOOD = {
    "device": "cpu",
    "verdict": "valid",
    "reason": "",
    "limit": "0.0001",
    "n": "1000",
    "top1_agreement": "0.998000",
    "auc": "0.890000",
    "auc_difference": "-1.000e-03",
}
TAILS = (Scenario.MULTI_STREAM,)


def batch_of(difference: float) -> BatchResult:
    return BatchResult(
        batch_size=16,
        warmup=5,
        iterations=100,
        first_call_ms=30.0,
        latency_ms_median=12.0,
        latency_ms_p90=14.0,
        latency_ms_p99=None,
        latency_ms_seeds=(12.0, 12.0, 12.1),
        latency_ms_mean=12.5,
        latency_ms_sd=1.0,
        latency_ms_min=11.0,
        patches_per_s=80.0,
        cpu_ms_per_patch=2.0,
        joules_per_patch=None,
        max_abs_difference=difference,
    )


def measured(*, others=0.1, repeat=1.1, difference=0.0, served=None, rate=50.0) -> Measurement:
    server = ScenarioResult(
        scenario=Scenario.SERVER,
        patches_per_query=1,
        queries=1986,
        figure=Figure.QUERIES_PER_S,
        value=rate,
        bound_ms=15.0,
        max_abs_difference=served,
    )
    return Measurement(
        version="1.2",
        import_ms=900.0,
        load_ms=80.0,
        build_ms=None,
        rss_before_mib=200.0,
        peak_rss_mib=640.0,
        gpu_memory_mib=None,
        others_cpu_share=others,
        energy_source="none: drawn",
        repeat_speedup=repeat,
        batches=(batch_of(0.0), batch_of(difference)),
        scenarios=(server,),
    )


def rules(pool=1024, measurement=None, **settings) -> tuple[str, ...]:
    return broken_rules(BenchmarkSettings(**settings), pool=pool, measurement=measurement)


def test_enough_of_everything_is_comparable():
    assert rules(measurement=measured(), iterations=64) == ()
    assert rules(scenarios=TAILS, tail_queries=662) == ()
    # 662 queries of each seed in 151 ms.
    assert rules(measurement=measured(rate=4400.0)) == ()
    assert rules(measurement=measured(rate=0.0)) == ()


@pytest.mark.parametrize(
    ("less", "rule"),
    [
        ({"iterations": 63}, "63 calls, fewer than 64"),
        ({"pool": 1023}, "1023 patches in memory, fewer than 1024"),
        ({"seeds": (5, 6)}, "2 seeds, fewer than 3"),
        ({"tail_queries": 661, "scenarios": TAILS}, "661 queries for a p99, fewer than 662"),
        (
            # 662 queries of each seed in 147 ms, under a bound of 15 ms.
            {"measurement": measured(rate=4500.0)},
            "queries of the server come within less than 10 times its bound",
        ),
        (
            {"measurement": measured(others=0.234)},
            "other processes took 23 % of the CPUs, more than 10 %",
        ),
        (
            {"measurement": measured(repeat=1.43)},
            "patches that it has just seen take it 1.43 x less time than others, more than 1.10 x:"
            " it keeps answers",
        ),
    ],
)
def test_less_than_the_rules_ask_for_is_not_comparable(less, rule):
    assert rules(**less) == (rule,)


def test_queries_of_a_scenario_that_is_not_asked_for_need_not_be_many():
    assert rules(tail_queries=1) == ()


def test_a_quick_look_is_too_short_to_tell_that_answers_are_kept():
    assert rules(iterations=5, measurement=measured(repeat=3.0)) == ("5 calls, fewer than 64",)


def test_right_answers_are_valid():
    assert judge(measured(difference=1e-4, served=1e-4), GOOD, Device.CPU) == (Verdict.VALID, "")


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_timed_answers_outside_the_limit_are_invalid(difference):
    verdict, reason = judge(measured(difference=difference), GOOD, Device.CPU)
    assert verdict is Verdict.INVALID
    assert reason == f"timed answers differ by {difference:.3g} at batch 16, limit 0.0001"
    verdict, reason = judge(measured(served=difference), GOOD, Device.CPU)
    assert verdict is Verdict.INVALID
    assert reason == f"timed answers differ by {difference:.3g} of server, limit 0.0001"


def test_what_the_comparison_found_wrong_stays_invalid():
    wrong = {**GOOD, "verdict": "invalid", "reason": "differs by 0.5, limit 0.0001"}
    assert judge(measured(), wrong, Device.CPU) == (Verdict.INVALID, "differs by 0.5, limit 0.0001")


def test_an_engine_that_was_not_compared_is_invalid_however_right_its_timed_answers_are():
    unknown = dict.fromkeys(GOOD, "") | {"device": "cpu"}
    row = {**unknown, "limit": "0.0001", "verdict": "unavailable", "reason": "no GPU"}
    reason = "it was not compared with the trained network: no GPU"
    assert judge(measured(), row, Device.CPU) == (Verdict.INVALID, reason)
    reason = "it was compared with the trained network on cpu alone"
    assert judge(measured(), GOOD, Device.CUDA) == (Verdict.INVALID, reason)


def test_an_auc_below_99_percent_of_the_networks_is_invalid():
    # The network's AUC is 0.9; 99 % of it are 0.891.
    assert accuracy_reason({**GOOD, "auc": "0.8911", "auc_difference": "-8.900e-03"}) == ""
    low = {**GOOD, "auc": "0.8909", "auc_difference": "-9.100e-03"}
    expected = "its AUC is 0.8909, less than 99 % of the trained network's 0.9000"
    assert judge(measured(), low, Device.CPU) == (Verdict.INVALID, expected)


def test_fewer_than_99_percent_of_the_networks_classes_are_invalid():
    assert accuracy_reason({**GOOD, "top1_agreement": "0.990000"}) == ""
    reason = accuracy_reason({**GOOD, "top1_agreement": "0.985000"})
    assert reason == "98.50 % of its classes are the trained network's, fewer than 99 %"


@pytest.mark.parametrize(
    ("n", "one_off", "two_off"),
    [
        ("14", "0.928571", "0.857143"),
        ("16", "0.937500", "0.875000"),
        ("99", "0.989899", "0.979798"),
        ("199", "0.994975", "0.989950"),
    ],
)
def test_of_fewer_than_100_classes_one_may_be_another(n, one_off, two_off):
    assert accuracy_reason({**GOOD, "n": n, "top1_agreement": one_off}) == ""
    reason = accuracy_reason({**GOOD, "n": n, "top1_agreement": two_off})
    assert " % of its classes are the trained network's, fewer than " in reason


def test_where_nothing_is_known_about_accuracy_the_differences_decide():
    numbers = {**GOOD, "top1_agreement": "", "auc": "", "auc_difference": ""}
    assert judge(measured(), numbers, Device.CPU) == (Verdict.VALID, "")
