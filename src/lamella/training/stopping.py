"""A signal asks a training to stop: it keeps its state after the next step, and ends.

SLURM sends one before the time limit (``--signal=USR1@120``) and before it kills a job.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_STOPPED = 75
"""Exit code of a training that a signal has stopped and that goes on when it is started again.

Source:
    EX_TEMPFAIL, "the user is invited to retry": sysexits.h of BSD.
"""

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether a signal has asked this process to stop."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Note the signals that ask to stop, in place of ending by them; in the main thread only.

    Yields:
        What the signals have asked for so far.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        request.asked = True

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    # A launcher has them wait until somebody listens.
    waiting = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield request
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
        for number, handler in before.items():
            signal.signal(number, handler)
