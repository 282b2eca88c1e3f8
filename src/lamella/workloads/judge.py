"""Is a workload's measurement right, and may it be compared with others?"""

import math

from lamella.benchmark.judge import ACCURACY_SHARE, classes_reason, others_rule
from lamella.engines.verdict import Verdict
from lamella.workloads.cell import WorkloadMeasurement, WorkloadRuns
from lamella.workloads.settings import WorkloadSettings, WorkloadSize
from lamella.workloads.sizes import SIZES
from lamella.workloads.slide import WholeSlide
from lamella.workloads.workload import Workload

FEWEST_RUNS = 10
"""Fewest measured runs of a comparable result, as in the paper."""

# Slides are of all sizes.
_AS_LARGE_SHARE = 0.9


def judge_workload(measurement: WorkloadMeasurement, limit: float) -> tuple[Verdict, str]:
    """Return whether an engine's answers are right, and why not.

    Args:
        measurement: What was measured.
        limit: Largest difference of a probability that is valid.
    """
    reason = _not_finite(measurement) or _wrong(measurement, limit)
    return (Verdict.INVALID, reason) if reason else (Verdict.VALID, "")


def _not_finite(measurement: WorkloadMeasurement) -> str:
    if not math.isfinite(measurement.max_abs_difference):
        return "answers that are not finite, to examples"
    for kind in measurement.kinds:
        if kind.unanswered:
            return f"answers that are not finite, in {_runs(kind)}"
    return ""


def _wrong(measurement: WorkloadMeasurement, limit: float) -> str:
    # All are written so that NaN is not within the limit.
    if not measurement.max_abs_difference <= limit:
        found = measurement.max_abs_difference
        return f"differs by {found:.3g}, limit {limit:g}"
    reason = classes_reason(
        measurement.label_agreement, measurement.compared_answers, whose="the network's"
    )
    if reason:
        return reason
    allowed = 1 - ACCURACY_SHARE if measurement.kinds[0].of_labels else limit
    for kind in measurement.kinds:
        if not kind.reference_difference <= allowed:
            found = kind.reference_difference
            return f"{_runs(kind)} differ by {found:.3g} from the network, limit {allowed:g}"
    worst = max(kind.result_difference for kind in measurement.kinds)
    if not worst <= allowed:
        return f"results of two runs differ by {worst:.3g}, limit {allowed:g}"
    return ""


def _runs(kind: WorkloadRuns) -> str:
    return f"{kind.mode} runs at batch {kind.batch_size}"


def broken_rules(
    settings: WorkloadSettings, measurement: WorkloadMeasurement | None, workload: Workload
) -> tuple[str, ...]:
    """Return why a measurement would not be comparable; empty where it is.

    Args:
        settings: Size, and how often it is run.
        measurement: What was measured, where the engine is available.
        workload: What was run.
    """
    small = settings.size is not WorkloadSize.PAPER or not _as_large_as_in_the_paper(workload)
    others = 0.0 if measurement is None else measurement.others_cpu_share
    rules = {
        "smaller than in the paper": small,
        f"extrapolated from {workload.run_items} of {workload.items} frames or patches": (
            workload.run_items < workload.items
        ),
        f"{settings.iterations} runs, fewer than {FEWEST_RUNS}": settings.iterations < FEWEST_RUNS,
        **others_rule(others),
    }
    return tuple(rule for rule, broken in rules.items() if broken)


def _as_large_as_in_the_paper(workload: Workload) -> bool:
    # Clips and volumes are cut to size.
    if not isinstance(workload, WholeSlide):
        return True
    area, wanted = math.prod(workload.size_l0), math.prod(SIZES[WorkloadSize.PAPER].slide_px)
    return area >= _AS_LARGE_SHARE * wanted
