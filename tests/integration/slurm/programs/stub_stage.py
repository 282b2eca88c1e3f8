"""A stage whose work sleeps: stub_stage.py FOLDER SLIDES SECONDS FLEET SITE [LIFETIME_SHARE].

With STUB_HOLD the first worker job never ends a slide; with STUB_EATER slide 0 takes much memory.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lamella.fleet import slurm_cluster
from lamella.fleet.run import SlideTask, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.logs import start_job_log
from lamella.slurm.settings import SiteSettings
from lamella.stores.atomic import write_text
from lamella.stores.stored import Stored


@dataclass(frozen=True)
class Job:
    output: Path
    seconds: float


def work(job: Job) -> int:
    """Note begin and end of each slide, and the job that does it."""
    number = os.environ["SLURM_JOB_ID"]
    with (job.output.parent / "begun").open("a") as begun:
        begun.write(f"{job.output.stem} {number}\n")
    if "STUB_HOLD" in os.environ and number == first_job(job):
        time.sleep(600)
    if job.output.stem == "0" and "STUB_EATER" in os.environ:
        eat(os.environ["STUB_EATER"])
    time.sleep(job.seconds)
    write_text(job.output, number)
    return 1


def first_job(job: Job) -> str:
    first, *_ = (job.output.parent / "begun").read_text().splitlines()
    return first.split()[1]


def eat(eater: str) -> None:
    """Take 1500 MiB, in this worker or in a process of its own, which the worker does not know."""
    if eater == "child":
        program = "import time; eaten = b'x' * 1500 * 2**20; time.sleep(60)"
        subprocess.run([sys.executable, "-c", program], check=True)
    eaten = b"x" * 1500 * 2**20
    time.sleep(len(eaten))


def stored(path: Path) -> Stored | None:
    return Stored("f", 1) if path.exists() else None


def main() -> None:
    folder, slides, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for share in sys.argv[6:]:
        slurm_cluster.LIFETIME_SHARE = float(share)
    start_job_log(folder / "stage.log")
    output = folder / "slides"
    output.mkdir(exist_ok=True)
    tasks = []
    for number in range(slides):
        path = output / f"{number}.txt"
        tasks.append(SlideTask(str(number), 1, path, "f", Job(path, seconds)))
    run_stage(
        "stub",
        work,
        tasks,
        manifest=folder / "manifest.tsv",
        stored=stored,
        settings=FleetSettings.model_validate_json(sys.argv[4]),
        site=SiteSettings.model_validate_json(sys.argv[5]),
    )


if __name__ == "__main__":
    main()
