"""A rank ends with its launcher, however the launcher ends.

::

    python -m lamella.training.lifeline PROGRAM ARGUMENTS      the same for any other program
"""

import ctypes
import os
import signal
import sys

LAUNCHER_VARIABLE = "LAMELLA_LAUNCHER_PID"
PARENT_VARIABLE = "LAMELLA_END_WITH_PARENT"
"""Set where a program of the site's starts the ranks, whose number nobody knows beforehand."""

_PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Have Linux kill this process when the launcher is gone; nothing without a launcher.

    Called first in a rank: an orphaned rank would wait for its group, holding memory.

    Source:
        PR_SET_PDEATHSIG: man 2 prctl.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher is None and PARENT_VARIABLE not in os.environ:
        return
    parent = os.getppid() if launcher is None else int(launcher)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have ended before the call above: then no signal would come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    end_with_launcher()
    # What the program starts has the program as its parent.
    os.environ.pop(LAUNCHER_VARIABLE, None)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
