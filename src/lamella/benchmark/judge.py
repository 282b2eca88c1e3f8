"""Is a measurement right, and may it be compared with others?"""

from lamella.benchmark.cell import Measurement, ScenarioResult
from lamella.benchmark.quantile import P90_QUERIES, P99_QUERIES
from lamella.benchmark.settings import BenchmarkSettings
from lamella.engines.verdict import Verdict
from lamella.settings import Device
from lamella.stores.tables import Row

POOL_PATCHES = 1024
"""Fewest patches in memory under MLPerf's rule: fewer might stay in the CPU's caches."""

FEWEST_SEEDS = 3
"""Fewest seeds of the draws."""

OTHERS_CPU_SHARE = 0.10
"""Most of the CPUs that other processes may take; more of them slow what is measured."""

REPEAT_SPEEDUP = 1.10
"""How much faster an engine may be with patches that it has just seen; more of it and it keeps its
answers. MLPerf Inference, compliance/TEST04."""

SERVED_BOUNDS = 10
"""How many times its bound the queries of a server must take to come: in less time hardly any queue
gets long enough to break it. MLPerf asks for 10 minutes."""

ACCURACY_SHARE = 0.99
"""Lowest accuracy over that of the trained network in 32 bits. MLPerf Inference rules,
"Benchmarks": 99 % of FP32."""

# As `parity.tsv` has them.
_SHARE_DIGITS = 6

# Of fewer, one would be a good part.
_SPARING_ONE = 10


def judge(measurement: Measurement, parity: Row, device: Device) -> tuple[Verdict, str]:
    """Return whether an engine's answers are right, and why not.

    Args:
        measurement: What was measured.
        parity: The engine's row of ``parity.tsv``.
        device: Where it was measured.
    """
    if parity["device"] != device:
        compared = parity["device"]
        return Verdict.INVALID, f"it was compared with the trained network on {compared} alone"
    if parity["verdict"] == Verdict.INVALID:
        return Verdict.INVALID, parity["reason"]
    if parity["verdict"] == Verdict.UNAVAILABLE:
        # Nothing is known of its accuracy.
        reason = f"it was not compared with the trained network: {parity['reason']}"
        return Verdict.INVALID, reason
    reason = accuracy_reason(parity) or _difference_reason(measurement, float(parity["limit"]))
    return (Verdict.INVALID, reason) if reason else (Verdict.VALID, "")


def accuracy_reason(parity: Row) -> str:
    """Return why an engine is not accurate enough; empty where it is.

    Its AUC and its classes are held against the trained network's, where the comparison has them.

    Args:
        parity: The engine's row of ``parity.tsv``.
    """
    if parity["top1_agreement"]:
        share, answers = float(parity["top1_agreement"]), int(parity["n"])
        reason = classes_reason(share, answers, whose="the trained network's")
        if reason:
            return reason
    if parity["auc"] and parity["auc_difference"]:
        auc = float(parity["auc"])
        expected = auc - float(parity["auc_difference"])
        if auc < ACCURACY_SHARE * expected:
            return f"its AUC is {auc:.4f}, less than 99 % of the trained network's {expected:.4f}"
    return ""


def classes_reason(share: float, answers: int, *, whose: str) -> str:
    """Return why too few of an engine's classes are a network's; empty where they are enough.

    At most 1 % may be others; of 10 to 100 answers one may be, for a network may find two classes
    so much alike that the smallest rounding decides.

    Args:
        share: Share of the classes that are the network's, 0-1.
        answers: How many were compared, at least 1.
        whose: What the network is called.
    """
    one_less = (answers - 1) / answers
    fewest = min(ACCURACY_SHARE, one_less) if answers >= _SPARING_ONE else ACCURACY_SHARE
    # Written so that NaN is not enough.
    if round(share, _SHARE_DIGITS) >= round(fewest, _SHARE_DIGITS):
        return ""
    return f"{100 * share:.2f} % of its classes are {whose}, fewer than {100 * fewest:.4g} %"


def _difference_reason(measurement: Measurement, limit: float) -> str:
    differences = {
        f"at batch {batch.batch_size}": batch.max_abs_difference for batch in measurement.batches
    }
    for result in measurement.scenarios:
        if result.max_abs_difference is not None:
            differences[f"of {result.scenario}"] = result.max_abs_difference
    for where, difference in differences.items():
        # Written so that NaN is not within the limit.
        if not difference <= limit:
            return f"timed answers differ by {difference:.3g} {where}, limit {limit:g}"
    return ""


def broken_rules(
    settings: BenchmarkSettings, *, pool: int, measurement: Measurement | None
) -> tuple[str, ...]:
    """Return why a measurement would not be comparable; empty where it is.

    Args:
        settings: How often is measured.
        pool: Patches in memory.
        measurement: What was measured, where the engine is available.
    """
    rules = _quick_look(settings, pool)
    if measurement is not None:
        rules |= _disturbed(settings, measurement)
    return tuple(rule for rule, broken in rules.items() if broken)


def _quick_look(settings: BenchmarkSettings, pool: int) -> dict[str, bool]:
    return {
        f"{settings.iterations} calls, fewer than {P90_QUERIES}": (
            settings.iterations < P90_QUERIES
        ),
        f"{settings.tail_queries} queries for a p99, fewer than {P99_QUERIES}": (
            settings.has_tail and settings.tail_queries < P99_QUERIES
        ),
        f"{len(settings.seeds)} seeds, fewer than {FEWEST_SEEDS}": (
            len(settings.seeds) < FEWEST_SEEDS
        ),
        f"{pool} patches in memory, fewer than {POOL_PATCHES}": pool < POOL_PATCHES,
    }


def _disturbed(settings: BenchmarkSettings, measurement: Measurement) -> dict[str, bool]:
    others, speedup = measurement.others_cpu_share, measurement.repeat_speedup
    return {
        f"queries of the server come within less than {SERVED_BOUNDS} times its bound": any(
            _too_short(result, settings) for result in measurement.scenarios
        ),
        **others_rule(others),
        # Medians of a few calls say nothing.
        f"patches that it has just seen take it {speedup:.2f} x less time than others, more than"
        f" {REPEAT_SPEEDUP:.2f} x: it keeps answers": (
            settings.iterations >= P90_QUERIES and speedup > REPEAT_SPEEDUP
        ),
    }


def others_rule(share: float) -> dict[str, bool]:
    """Return the rule about other processes, and whether it is broken.

    Args:
        share: Share of the CPUs that they took, 0-1.
    """
    percent, most = 100 * share, 100 * OTHERS_CPU_SHARE
    rule = f"other processes took {percent:.0f} % of the CPUs, more than {most:.0f} %"
    return {rule: share > OTHERS_CPU_SHARE}


def _too_short(result: ScenarioResult, settings: BenchmarkSettings) -> bool:
    """Return whether the queries of one seed, before which nobody waits, come too fast."""
    if not result.value or result.bound_ms is None:
        return False
    return settings.tail_queries / result.value < SERVED_BOUNDS * result.bound_ms / 1e3
