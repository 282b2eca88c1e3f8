"""Logging of a job: one file per job, warnings to the terminal too."""

import logging
import sys
from pathlib import Path

from lamella.errors import LamellaError

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_job_log(path: str | Path) -> None:
    """Log everything of this process to ``path``, from its beginning, and to standard error.

    A ``LamellaError`` that escapes the job is logged as its one line, without a traceback,
    and the process ends with exit code 1.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_terminal = logging.StreamHandler(sys.stderr)
    logging.basicConfig(
        level=logging.WARNING, format=_FORMAT, handlers=[to_file, to_terminal], force=True
    )
    # Of other libraries, a user needs the warnings only.
    logging.getLogger("lamella").setLevel(logging.INFO)
    logging.captureWarnings(True)
    _log_escaping_errors()


def _log_escaping_errors() -> None:
    def log_error(kind: type[BaseException], error: BaseException, trace: object) -> None:
        logger = logging.getLogger("lamella")
        if isinstance(error, LamellaError):
            logger.error("%s", error)
        else:
            logger.critical("unexpected error, please report it", exc_info=error)

    sys.excepthook = log_error
