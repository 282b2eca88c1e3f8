import time

import numpy as np
import pytest

from lamella.benchmark.measure import Call, Pool, measure_batch, summarise_calls


def test_figures_of_calls_by_hand():
    before = [Call(50.0, 9.0, 0.0), Call(5.0, 9.0, 0.25)]
    calls = [Call(10.0, 16.0, 0.0), Call(20.0, 16.0, 0.125), Call(60.0, 28.0, 0.0)]
    found = summarise_calls(before, calls, batch_size=4)
    assert (found.warmup, found.iterations, found.first_call_ms) == (2, 3, 50.0)
    assert (found.latency_ms_median, found.latency_ms_mean) == (20.0, 30.0)
    assert found.latency_ms_min == 10.0
    assert found.latency_ms_sd == pytest.approx(26.4575, abs=1e-4)
    assert found.latency_ms_p90 is None
    # 12 patches in 90 ms, and 60 ms of CPU time.
    assert found.patches_per_s == pytest.approx(133.3333, abs=1e-4)
    assert found.cpu_ms_per_patch == 5.0
    assert found.max_abs_difference == 0.25


def test_a_single_call_has_no_deviation():
    assert summarise_calls([Call(1, 1, 0)], [Call(1, 1, 0)], 1).latency_ms_sd is None


def test_one_wrong_answer_among_many_calls_is_seen():
    calls = [Call(1.0, 1.0, 0.0)] * 70 + [Call(1.0, 1.0, float("nan"))] + [Call(1.0, 1.0, 0.0)]
    found = summarise_calls(calls[:1], calls, 1)
    assert np.isnan(found.max_abs_difference)
    assert found.latency_ms_p90 == 1.0


class Sleeper:
    """Waits a while per call; its answer is the first pixel."""

    def __init__(self):
        self.batches = []

    def infer(self, patches):
        self.batches.append(patches.copy())
        time.sleep(0.02)
        first = patches[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([1 - first, first], axis=1)


@pytest.fixture
def pool():
    patches = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((2, 3, 3), np.uint8)
    first = np.arange(40, dtype=np.float32) / 255
    return Pool(patches, np.stack([1 - first, first], axis=1))


def measured(engine, pool, **options):
    defaults = {"batch_size": 5, "warmup": 2, "iterations": 6, "seed": 0}
    return measure_batch(engine, pool, **{**defaults, **options})


def test_waiting_is_latency_but_no_cpu_time(pool):
    found = measured(Sleeper(), pool)
    assert found.latency_ms_min >= 20
    assert found.cpu_ms_per_patch < 2
    assert found.max_abs_difference == 0.0
    assert found.patches_per_s <= 5 / 0.02


def test_every_call_gets_another_batch_and_a_seed_always_the_same(pool):
    engines = [Sleeper(), Sleeper(), Sleeper()]
    for engine, seed in zip(engines, (1, 1, 2), strict=True):
        measured(engine, pool, seed=seed)
    first, same, other = (np.array(engine.batches) for engine in engines)
    assert first.shape == (8, 5, 2, 3, 3)
    assert len(np.unique(first.reshape(8, -1), axis=0)) == 8
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_answers_are_compared_with_those_about_the_same_patches(pool):
    shifted = Pool(pool.patches, np.roll(pool.probabilities, 1, axis=0))
    assert measured(Sleeper(), shifted).max_abs_difference > 1 / 256


def test_a_batch_may_be_larger_than_the_pool(pool):
    found = measured(Sleeper(), pool, batch_size=64, iterations=1)
    assert (found.batch_size, found.max_abs_difference) == (64, 0.0)
