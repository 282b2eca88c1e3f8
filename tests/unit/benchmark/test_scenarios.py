import pytest

from lamella.benchmark.scenarios import planned_calls
from lamella.benchmark.settings import BenchmarkSettings, Scenario


def planned(*scenarios, **settings):
    return planned_calls(BenchmarkSettings(scenarios=scenarios, **settings))


def test_batch_sizes_are_measured_without_any_scenario():
    assert planned(batch_sizes=(16, 4), iterations=70) == {4: 70, 16: 70}


def test_a_scenario_brings_the_batch_size_that_it_needs():
    assert planned(Scenario.SINGLE_STREAM, batch_sizes=(16,)) == {1: 100, 16: 100}
    assert planned(Scenario.SERVER, batch_sizes=(16,)) == {1: 100, 16: 100}
    assert planned(Scenario.MULTI_STREAM, batch_sizes=(16,)) == {8: 662, 16: 100}
    assert planned(Scenario.OFFLINE, batch_sizes=(16,)) == {16: 100}


def test_a_batch_size_that_two_ask_for_is_measured_once_with_the_most_calls():
    assert planned(Scenario.MULTI_STREAM, batch_sizes=(8,)) == {8: 662}
    assert planned(Scenario.MULTI_STREAM, batch_sizes=(8,), iterations=1000) == {8: 1000}
    assert planned(Scenario.MULTI_STREAM, batch_sizes=(1,), tail_queries=20) == {1: 100, 8: 20}


def test_default_is_what_a_cpu_does_in_minutes():
    assert planned_calls(BenchmarkSettings()) == {1: 100, 16: 100}


@pytest.mark.parametrize("seeds", [(1, 1, 2), (-1, 0, 1)])
def test_seeds_that_are_equal_or_negative_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds are at least 0, and each another one"):
        BenchmarkSettings(seeds=seeds)


def test_a_scenario_with_a_p99_may_take_longer():
    assert BenchmarkSettings().runtime_min == 60
    for scenario in (Scenario.MULTI_STREAM, Scenario.SERVER):
        assert BenchmarkSettings(scenarios=(scenario,)).runtime_min == 480
