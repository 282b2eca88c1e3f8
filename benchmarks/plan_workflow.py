"""Measure how long Snakemake takes to plan a cohort, and count the jobs it plans.

python benchmarks/plan_workflow.py --slides 10 10000
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def plan(slides: int) -> tuple[float, float, int]:
    """Return wall seconds, processor seconds and the number of jobs of a dry run."""
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config"
        config.mkdir()
        (config / "config.yaml").write_text("study: plan\n")
        rows = "".join(f"slide{i}\tslides/{i}.svs\tpatient{i // 2}\n" for i in range(slides))
        (config / "slides.tsv").write_text(f"slide\tpath\tpatient\n{rows}")
        command = [Path(sys.executable).with_name("snakemake"), "--dry-run", "--cores", "1"]
        command += ["--snakefile", REPOSITORY / "Snakefile"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        ended = subprocess.run(command, cwd=name, capture_output=True, text=True, check=True)
        wall_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    jobs = re.search(r"^total\s+(\d+)", ended.stdout, re.MULTILINE)
    if jobs is None:
        raise SystemExit(f"no job statistics in:\n{ended.stdout}")
    return wall_s, cpu_s, int(jobs[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, nargs="+", default=[10, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    runs = [{slides: plan(slides) for slides in arguments.slides} for _ in range(arguments.runs)]
    for slides in arguments.slides:
        wall, cpu, jobs = zip(*(run[slides] for run in runs), strict=True)
        print(
            f"{slides:6} slides: {jobs[0]} jobs, {statistics.median(wall):.1f} s"
            f" ({statistics.median(cpu):.1f} s of processor time), median of {arguments.runs}"
        )


if __name__ == "__main__":
    main()
