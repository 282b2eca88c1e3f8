"""Run one engine through everything that is measured of it."""

from pathlib import Path

from lamella.benchmark.cell import BatchResult, Measurement, ScenarioResult
from lamella.benchmark.energy import EnergyMeter, find_meter
from lamella.benchmark.host import others_cpu_share, own_memory_mib, read_cpu_times
from lamella.benchmark.loading import load_timed
from lamella.benchmark.measure import Pool, Timer, measure_batch, measure_repeat
from lamella.benchmark.nvml import own_gpu_memory_mib
from lamella.benchmark.quantile import P90_QUERIES
from lamella.benchmark.scenarios import planned_calls, stream_results
from lamella.benchmark.server import measure_server
from lamella.benchmark.settings import BenchmarkSettings, Scenario
from lamella.engines.engine import Engine
from lamella.engines.load import load_engine
from lamella.engines.settings import EngineName, Precision
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
        EngineUnavailableError: the library is not installed here, or has no such device or
            precision.
    """
    rss_before_mib = own_memory_mib("VmRSS")
    loaded = load_timed(
        name,
        settings.device,
        lambda: load_engine(
            name,
            export_folder,
            device=settings.device,
            precision=precision,
            threads=settings.threads,
            batch_sizes=tuple(planned_calls(settings)),
        ),
    )
    engine = loaded.engine
    meter, energy_source = find_meter(settings.device)
    times_before = read_cpu_times()
    batches = _batches(engine, pool, settings, meter)
    repeat_speedup = _repeat(engine, pool, settings)
    scenarios = _scenarios(engine, pool, settings, batches)
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
        repeat_speedup=repeat_speedup,
        batches=batches,
        scenarios=scenarios,
    )


def _batches(
    engine: Engine, pool: Pool, settings: BenchmarkSettings, meter: EnergyMeter | None
) -> tuple[BatchResult, ...]:
    return tuple(
        measure_batch(
            engine,
            pool,
            batch_size=batch_size,
            warmup=settings.warmup,
            iterations=iterations,
            seeds=settings.seeds,
            meter=meter,
        )
        for batch_size, iterations in planned_calls(settings).items()
    )


def _repeat(engine: Engine, pool: Pool, settings: BenchmarkSettings) -> float:
    """Return the speed-up at the smallest batch size; an engine keeps answers at all or none."""
    return measure_repeat(
        engine,
        pool,
        batch_size=min(planned_calls(settings)),
        calls=min(settings.iterations, P90_QUERIES),
        seeds=settings.seeds,
    )


def _scenarios(
    engine: Engine, pool: Pool, settings: BenchmarkSettings, batches: tuple[BatchResult, ...]
) -> tuple[ScenarioResult, ...]:
    results = stream_results(settings, batches)
    if Scenario.SERVER in settings.scenarios:
        single = next(batch for batch in batches if batch.batch_size == 1)
        results.append(measure_server(Timer(engine, pool), settings, single))
    return tuple(results)
