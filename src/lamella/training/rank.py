"""One of the processes that train a network together; started by ``python -m lamella.training``.

Also by ``horovodrun`` or ``torchrun``, whose variables are those of Lamella's launcher.
"""

import io
import logging
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamella.training.lifeline import end_with_launcher
from lamella.training.stopping import EXIT_STOPPED, STOP_SIGNALS

if TYPE_CHECKING:
    from lamella.training.arguments import Arguments

_logger = logging.getLogger(__name__)


def start() -> None:
    """Do what must be done first of all in a rank."""
    # Signals that ask to stop wait until somebody listens: none ends the rank as it starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    end_with_launcher()
    # Line by line: what another rank prints shall not come between, as with mpirun.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def main(words: Sequence[str]) -> None:
    """Train as one rank; the arguments are those of ``python -m lamella.training``.

    Raises:
        SystemExit: code 1, after the error was printed in one line; ``EXIT_STOPPED``.
    """
    from lamella.errors import LamellaError
    from lamella.training.arguments import read_arguments
    from lamella.training.seat import STOPPED, in_step, take_seat, tell

    arguments = read_arguments(words)
    # The launcher reads the level and logs the line; the time is added there.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    try:
        take_seat(arguments.training)
        _train(arguments)
    except LamellaError as error:
        _logger.error("%s", error)
        raise SystemExit(1) from error
    except SystemExit as end:
        # For `srun` and its kind, which end all ranks as soon as one ends with another code than 0:
        # rank 0 may still be writing the state.
        if end.code != EXIT_STOPPED or not in_step():
            raise
        tell(STOPPED)


def _train(arguments: "Arguments") -> None:
    # Imported late: it takes seconds, in which the launcher could already be gone, and reads what
    # `take_seat` has put into the environment.
    from lamella.training.train import train_as_asked

    train_as_asked(arguments)


if __name__ == "__main__":
    start()
    main(sys.argv[1:])
