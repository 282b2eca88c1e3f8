"""``python -m lamella.training`` without MLflow: alone|launch|site|rank ARGUMENTS.

With HOLD=EPOCH:STEP:FILE, rank 0 waits for a signal after the checkpoint of that step of that
epoch, and makes the file when it does.
"""

import os
import signal
import sys
import time
from pathlib import Path

from lamella.training.lifeline import end_with_launcher


def hold() -> None:
    """Have the training wait where HOLD says."""
    from lamella.training.keep import Keeper

    epoch, step, held = os.environ["HOLD"].split(":")
    keep = Keeper.keep

    def keep_and_hold(keeper, progress, course=None):
        keep(keeper, progress, course)
        is_there = course and (course.epoch, course.step) == (int(epoch), int(step))
        if is_there and keeper._trainer.group.rank == 0:
            wait_for_signal(Path(held))

    Keeper.keep = keep_and_hold


def wait_for_signal(held: Path) -> None:
    note, noted = signal.getsignal(signal.SIGUSR1), []

    def note_and_go_on(*arguments):
        note(*arguments)
        noted.append(True)

    signal.signal(signal.SIGUSR1, note_and_go_on)
    held.touch()
    # Not for ever, should the test have ended.
    until = time.monotonic() + 600
    while not noted and time.monotonic() < until:
        time.sleep(0.05)


def rank(words: list[str]) -> None:
    end_with_launcher()
    import lamella.training.rank
    import lamella.training.train

    if "HOLD" in os.environ:
        hold()
    lamella.training.train.track = lambda *_: None
    lamella.training.rank.main(words)


def alone(words: list[str]) -> None:
    import lamella.training.__main__
    import lamella.training.train

    if "HOLD" in os.environ:
        hold()
    lamella.training.train.track = lambda *_: None
    lamella.training.__main__.main(words)


def launch(words: list[str]) -> None:
    from lamella.logs import start_job_log
    from lamella.training.arguments import read_arguments
    from lamella.training.launch import launch_training

    arguments = read_arguments(words)
    start_job_log(arguments.log)
    backend = arguments.training.backend
    launch_training([sys.executable, __file__, "rank", *words], 2, backend=backend)


def site(words: list[str]) -> None:
    import lamella.training.__main__ as program

    program.RANK = (sys.executable, __file__, "rank")
    program.main(words)


if __name__ == "__main__":
    programs = {"alone": alone, "launch": launch, "site": site, "rank": rank}
    programs[sys.argv[1]](sys.argv[2:])
