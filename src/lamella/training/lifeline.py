"""A rank ends with its launcher, however the launcher ends.

::

    python -m lamella.training.lifeline PROGRAM ARGUMENTS      the same for any other program
"""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

LAUNCHER_VARIABLE = "LAMELLA_LAUNCHER_PID"
PARENT_VARIABLE = "LAMELLA_END_WITH_PARENT"
"""Set where a program of the site's starts the ranks, whose number nobody knows beforehand."""

_PR_SET_PDEATHSIG = 1
# Set by the engine in every container.
_CONTAINER_VARIABLES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
_POLL_S = 1.0


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
    in_container = any(name in os.environ for name in _CONTAINER_VARIABLES)
    if in_container and os.getppid() != parent:
        _end_without(parent)
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have ended before the call above: then no signal would come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _end_without(launcher: int) -> None:
    """Kill this process when another is gone that is not its parent.

    Between a rank in a container and its launcher stands the engine, which outlives the launcher.
    """
    begun = _begun(launcher)

    def look() -> None:
        # Another process may have got its number: that one has begun later.
        while begun is not None and _begun(launcher) == begun:
            time.sleep(_POLL_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="lifeline", daemon=True).start()


def _begun(process: int) -> int | None:
    """Return when a process has begun, in ticks since the machine was started; None: it is gone.

    Source:
        The 22nd word, of which the second is in brackets and may have blanks: man 5 proc_pid_stat.
    """
    try:
        words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    # The latter where it ends while it is being read.
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(words[19])


if __name__ == "__main__":
    end_with_launcher()
    # What the program starts has the program as its parent.
    os.environ.pop(LAUNCHER_VARIABLE, None)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
