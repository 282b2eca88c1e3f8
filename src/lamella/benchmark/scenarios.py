"""MLPerf's scenarios, from the calls that are measured for each batch size."""

from collections.abc import Mapping, Sequence

from lamella.benchmark.cell import BatchResult, Figure, ScenarioResult
from lamella.benchmark.settings import BenchmarkSettings, Scenario

MULTI_STREAM_PATCHES = 8
"""Patches of a query of several streams: MLPerf Inference rules, "Scenarios"."""


def planned_calls(settings: BenchmarkSettings) -> dict[int, int]:
    """Return how many calls are measured of which batch size, the smallest first.

    Beside the batch sizes that are asked for these are the ones that the scenarios need.
    """
    calls = dict.fromkeys(settings.batch_sizes, settings.iterations)
    if {Scenario.SINGLE_STREAM, Scenario.SERVER} & set(settings.scenarios):
        calls[1] = settings.iterations
    if Scenario.MULTI_STREAM in settings.scenarios:
        asked = calls.get(MULTI_STREAM_PATCHES, 0)
        calls[MULTI_STREAM_PATCHES] = max(asked, settings.tail_queries)
    return dict(sorted(calls.items()))


def failed_scenarios(
    scenarios: Sequence[Scenario], batch_sizes: Sequence[int], failures: Mapping[int, str]
) -> dict[Scenario, str]:
    """Return why scenarios have no figure: the engine failed at all batch sizes that they need.

    Args:
        scenarios: Those that are asked for.
        batch_sizes: Of these `offline` needs any one; without, the reason is that of the first.
        failures: Why the engine failed at a batch size, by its number.
    """
    needed = {
        Scenario.SINGLE_STREAM: (1,),
        Scenario.MULTI_STREAM: (MULTI_STREAM_PATCHES,),
        Scenario.OFFLINE: batch_sizes,
        Scenario.SERVER: (1,),
    }
    return {
        scenario: failures[needed[scenario][0]]
        for scenario in scenarios
        if set(needed[scenario]) <= set(failures)
    }


def stream_results(
    scenarios: Sequence[Scenario], batch_sizes: Sequence[int], batches: Sequence[BatchResult]
) -> list[ScenarioResult]:
    """Return the scenarios in which the next query comes when the one before is answered.

    Args:
        scenarios: Those that are asked for and can be told; others are left out.
        batch_sizes: Those of `offline`.
        batches: What was measured of the planned batch sizes, those that the scenarios need.
    """
    of_size = {batch.batch_size: batch for batch in batches}
    results = {
        Scenario.SINGLE_STREAM: lambda: _single_stream(of_size),
        Scenario.MULTI_STREAM: lambda: _multi_stream(of_size),
        Scenario.OFFLINE: lambda: _offline(
            [of_size[size] for size in batch_sizes if size in of_size]
        ),
    }
    return [results[scenario]() for scenario in scenarios if scenario in results]


def _single_stream(of_size: Mapping[int, BatchResult]) -> ScenarioResult:
    return ScenarioResult(
        scenario=Scenario.SINGLE_STREAM,
        patches_per_query=1,
        queries=of_size[1].iterations,
        figure=Figure.LATENCY_MS_P90,
        value=of_size[1].latency_ms_p90,
    )


def _multi_stream(of_size: Mapping[int, BatchResult]) -> ScenarioResult:
    batch = of_size[MULTI_STREAM_PATCHES]
    return ScenarioResult(
        scenario=Scenario.MULTI_STREAM,
        patches_per_query=MULTI_STREAM_PATCHES,
        queries=batch.iterations,
        figure=Figure.LATENCY_MS_P99,
        value=batch.latency_ms_p99,
    )


def _offline(batches: Sequence[BatchResult]) -> ScenarioResult:
    """All patches are there from the beginning: the engine gets them in the size that suits it."""
    fastest = max(batches, key=lambda batch: batch.patches_per_s)
    return ScenarioResult(
        scenario=Scenario.OFFLINE,
        patches_per_query=fastest.batch_size,
        queries=fastest.iterations,
        figure=Figure.PATCHES_PER_S,
        value=fastest.patches_per_s,
    )
