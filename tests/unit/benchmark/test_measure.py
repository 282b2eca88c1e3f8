import numpy as np
import pytest

from lamella.benchmark import measure
from lamella.benchmark.energy import Counters, EnergyMeter
from lamella.benchmark.measure import (
    Call,
    Pool,
    deal_out,
    measure_batch,
    measure_repeat,
    summarise_calls,
)


def test_figures_of_calls_by_hand():
    before = [Call(50.0, 9.0), Call(5.0, 9.0)]
    seeds = [[Call(10.0, 16.0), Call(20.0, 16.0)], [Call(60.0, 28.0)], []]
    found = summarise_calls(before, seeds, 4, difference=0.25, joules=6.0)
    assert (found.warmup, found.iterations, found.first_call_ms) == (2, 3, 50.0)
    assert (found.latency_ms_median, found.latency_ms_mean) == (20.0, 30.0)
    assert found.latency_ms_seeds == (15.0, 60.0)
    assert found.latency_ms_min == 10.0
    assert found.latency_ms_sd == pytest.approx(26.4575, abs=1e-4)
    assert (found.latency_ms_p90, found.latency_ms_p99) == (None, None)
    # 12 patches in 90 ms, and 60 ms of CPU time.
    assert found.patches_per_s == pytest.approx(133.3333, abs=1e-4)
    assert found.cpu_ms_per_patch == 5.0
    assert found.joules_per_patch == 0.5
    assert found.max_abs_difference == 0.25


def test_a_single_call_has_no_deviation():
    alone = summarise_calls([Call(1, 1)], [[Call(1, 1)]], 1, difference=0.0, joules=None)
    assert (alone.latency_ms_sd, alone.joules_per_patch) == (None, None)


def test_the_calls_of_all_seeds_give_the_quantiles():
    seeds = [[Call(1.0, 1.0)] * 221, [Call(2.0, 1.0)] * 221, [Call(3.0, 1.0)] * 220]
    found = summarise_calls([Call(1.0, 1.0)], seeds, 1, difference=0.0, joules=None)
    assert (found.latency_ms_p90, found.latency_ms_p99) == (3.0, 3.0)


def test_calls_are_dealt_out_to_the_seeds():
    assert deal_out(100, 3) == [34, 33, 33]
    assert deal_out(1, 3) == [1, 0, 0]


class Clock:
    """Time that passes only where it is looked at or slept through, where no processor works."""

    def __init__(self):
        self.now_ns = self.busy_ns = 0

    def perf_counter_ns(self):
        self.now_ns += 50_000
        return self.now_ns

    def perf_counter(self):
        return self.perf_counter_ns() / 1e9

    def process_time_ns(self):
        self.busy_ns += 50_000
        return self.busy_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(measure, "time", Clock())


class Sleeper:
    """Waits a while per call; its answer is the first pixel."""

    def __init__(self):
        self.batches = []

    def infer(self, patches):
        self.batches.append(patches.copy())
        measure.time.sleep(0.02)
        first = patches[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([1 - first, first], axis=1)


@pytest.fixture
def pool():
    patches = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((2, 3, 3), np.uint8)
    first = np.arange(40, dtype=np.float32) / 255
    return Pool(patches, np.stack([1 - first, first], axis=1))


def measured(engine, pool, **options):
    defaults = {"batch_size": 5, "warmup": 2, "iterations": 6, "seeds": (0, 1, 2)}
    return measure_batch(engine, pool, **{**defaults, **options})


def test_waiting_is_latency_but_no_cpu_time(pool):
    found = measured(Sleeper(), pool)
    assert found.latency_ms_min == pytest.approx(20.05)
    assert found.cpu_ms_per_patch == pytest.approx(0.05 / 5)
    assert found.max_abs_difference == 0.0
    assert found.patches_per_s == pytest.approx(5 / 0.02005)


def test_every_call_gets_another_batch_and_seeds_always_the_same(pool):
    engines = [Sleeper(), Sleeper(), Sleeper()]
    for engine, seeds in zip(engines, ((1, 2, 3), (1, 2, 3), (1, 2, 4)), strict=True):
        measured(engine, pool, seeds=seeds)
    first, same, other = (np.array(engine.batches) for engine in engines)
    assert first.shape == (8, 5, 2, 3, 3)
    assert len(np.unique(first.reshape(8, -1), axis=0)) == 8
    np.testing.assert_array_equal(first, same)
    # Two calls of the warm-up, and two for each seed.
    np.testing.assert_array_equal(first[:6], other[:6])
    assert (first[6:] != other[6:]).any()


def test_answers_are_compared_with_those_about_the_same_patches(pool):
    shifted = Pool(pool.patches, np.roll(pool.probabilities, 1, axis=0))
    assert measured(Sleeper(), shifted).max_abs_difference > 1 / 256


def test_a_batch_may_be_larger_than_the_pool(pool):
    found = measured(Sleeper(), pool, batch_size=64, iterations=1)
    assert (found.batch_size, found.max_abs_difference) == (64, 0.0)


class Wrong(Sleeper):
    """One of its many answers is no number."""

    def infer(self, patches):
        answers = super().infer(patches)
        if len(self.batches) == 5:
            answers[2] = np.nan
        return answers


def test_one_wrong_answer_among_many_calls_is_seen(pool):
    assert np.isnan(measured(Wrong(), pool).max_abs_difference)


def test_an_answer_is_compared_only_after_the_last_call(pool, monkeypatch):
    engine, calls = Sleeper(), []
    monkeypatch.setattr(
        "lamella.benchmark.measure.largest_difference",
        lambda answers, *_, **__: calls.append((len(engine.batches), len(answers))) or 0.0,
    )
    measured(engine, pool)
    assert calls == [(8, 40)]


def test_energy_is_that_of_the_measured_calls(pool):
    engine = Sleeper()

    def read():
        return {"package-0": 40_000_000 * len(engine.batches)}

    def drawn(shortest_s):
        return EnergyMeter(Counters("drawn", {"package-0": 10**12}, read, shortest_s))

    # 6 calls of 5 patches with 40 J each; the two of the warm-up do not count.
    assert measured(engine, pool, meter=drawn(0.1)).joules_per_patch == 8.0
    assert measured(Sleeper(), pool).joules_per_patch is None
    # Six times 20 ms are no hour.
    assert measured(engine, pool, meter=drawn(3600.0)).joules_per_patch is None


class Keeper(Sleeper):
    """Keeps its answers, and is fast where it knows one."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def infer(self, patches):
        key = patches.tobytes()
        if key not in self.kept:
            self.kept[key] = super().infer(patches)
        return self.kept[key]


def test_an_engine_that_keeps_its_answers_is_seen(pool):
    seeds = (0, 1, 2)
    assert measure_repeat(Keeper(), pool, batch_size=5, calls=9, seeds=seeds) > 5
    honest = Sleeper()
    speedup = measure_repeat(honest, pool, batch_size=5, calls=9, seeds=seeds)
    assert speedup == pytest.approx(1.0)
    # Two turns of 8 calls with different and 8 with the same patches.
    batches = np.array(honest.batches).reshape(2, 16, -1)
    assert [len(np.unique(turn[:8], axis=0)) for turn in batches] == [8, 8]
    assert [len(np.unique(turn[8:], axis=0)) for turn in batches] == [1, 1]
    assert (batches[0, 8] != batches[1, 8]).any()
