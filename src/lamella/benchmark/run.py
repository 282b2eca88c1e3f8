"""Run one engine through everything that is measured of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lamella.benchmark.batch_sizes import measure_sizes
from lamella.benchmark.cell import BatchResult, Measurement, ScenarioResult
from lamella.benchmark.energy import find_meter
from lamella.benchmark.host import others_cpu_share, own_memory_mib, read_cpu_times
from lamella.benchmark.loading import load_timed
from lamella.benchmark.measure import Pool, Timer, measure_batch, measure_repeat
from lamella.benchmark.nvml import own_gpu_memory_mib
from lamella.benchmark.quantile import P90_QUERIES
from lamella.benchmark.scenarios import failed_scenarios, planned_calls, stream_results
from lamella.benchmark.server import measure_server
from lamella.benchmark.settings import BenchmarkSettings, Scenario
from lamella.engines.engine import Engine
from lamella.engines.load import load_engine
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError
from lamella.settings import Device


def measure_engine(
    name: EngineName,
    precision: Precision,
    export_folder: Path,
    pool: Pool,
    settings: BenchmarkSettings,
) -> Measurement:
    """Import, load and time an engine.

    Args:
        name: The engine.
        precision: Arithmetic that it computes in.
        export_folder: What ``export_model`` wrote.
        pool: Patches in memory.
        settings: How often and with what is measured.

    Raises:
        EngineUnavailableError: the library is not installed here, has no such device or precision,
            or fails at every batch size.
    """
    rss_before_mib = own_memory_mib("VmRSS")
    calls = planned_calls(settings)
    loaded = load_timed(
        name,
        settings.device,
        lambda: load_engine(
            name,
            export_folder,
            device=settings.device,
            precision=precision,
            threads=settings.threads,
            batch_sizes=tuple(calls),
        ),
    )
    engine = loaded.engine
    meter, energy_source = find_meter(settings.device)
    times_before = read_cpu_times()
    repeat_speedups: list[float] = []

    def measure(batch_size: int) -> BatchResult:
        result = measure_batch(
            engine,
            pool,
            batch_size=batch_size,
            warmup=settings.warmup,
            iterations=calls[batch_size],
            seeds=settings.seeds,
            meter=meter,
        )
        # Of the smallest, now: an engine that fails at a larger one may have failed for good.
        if not repeat_speedups:
            repeat_speedups.append(_repeat(engine, pool, settings, batch_size))
        return result

    batches, failures = measure_sizes(calls, measure)
    scenarios, scenario_failures = _scenarios(engine, pool, settings, batches, failures)
    return Measurement(
        version=loaded.version,
        import_ms=loaded.import_ms,
        load_ms=loaded.load_ms,
        build_ms=loaded.build_ms,
        rss_before_mib=rss_before_mib,
        peak_rss_mib=own_memory_mib("VmHWM"),
        gpu_memory_mib=own_gpu_memory_mib() if settings.device is Device.CUDA else None,
        others_cpu_share=others_cpu_share(times_before, read_cpu_times()),
        energy_source=energy_source,
        repeat_speedup=repeat_speedups[0],
        batches=batches,
        batch_failures=failures,
        scenarios=scenarios,
        scenario_failures=scenario_failures,
    )


def _repeat(engine: Engine, pool: Pool, settings: BenchmarkSettings, batch_size: int) -> float:
    """Return the speed-up at one batch size; an engine keeps answers at all or none."""
    return measure_repeat(
        engine,
        pool,
        batch_size=batch_size,
        calls=min(settings.iterations, P90_QUERIES),
        seeds=settings.seeds,
    )


def _scenarios(
    engine: Engine,
    pool: Pool,
    settings: BenchmarkSettings,
    batches: Sequence[BatchResult],
    batch_failures: Mapping[int, str],
) -> tuple[tuple[ScenarioResult, ...], dict[Scenario, str]]:
    """Return the scenarios, and why some have no figure."""
    failures = failed_scenarios(settings.scenarios, settings.batch_sizes, batch_failures)
    possible = [scenario for scenario in settings.scenarios if scenario not in failures]
    results = stream_results(possible, settings.batch_sizes, batches)
    if Scenario.SERVER in possible:
        single = next(batch for batch in batches if batch.batch_size == 1)
        try:
            results.append(measure_server(Timer(engine, pool), settings, single))
        except EngineUnavailableError as error:
            failures[Scenario.SERVER] = error.what
    return tuple(results), failures
