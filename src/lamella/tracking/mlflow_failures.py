"""How MLflow fails: what may go well the next time, and what a caller is told."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from lamella.errors import TrackingError
from lamella.tracking.settings import TrackingSettings

# The driver of a database that is asked for may not be installed.
FAILURES = (
    *(MlflowException, requests.RequestException, SQLAlchemyError),
    *(OSError, ModuleNotFoundError),
)


def may_pass(error: Exception) -> bool:
    """Return whether what failed may go well when it is tried again."""
    if isinstance(error, MlflowException):
        # BAD_REQUEST also stands for a row that another job has written meanwhile.
        code = error.get_http_status_code()
        return bool(code >= 500 or code in {408, 429} or error.error_code == "BAD_REQUEST")
    if isinstance(error, requests.ConnectionError):
        return not _is_nobody_there(error)
    return isinstance(error, requests.RequestException | SQLAlchemyError | ConnectionError)


def _is_nobody_there(error: requests.ConnectionError) -> bool:
    """Return whether no server was reached; one that says nothing for a while was."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


@contextmanager
def refusals(settings: TrackingSettings) -> Iterator[None]:
    """Turn every way in which MLflow can fail to take a record into a ``TrackingError``."""
    try:
        yield
    except FAILURES as error:
        reason = str(error).splitlines()[0][:300]
        raise TrackingError(
            f"the record was not sent ({type(error).__name__}: {reason})",
            settings.store_name,
            "It lies beside the results; `lamella sync-tracking` sends it when MLflow answers",
        ) from error
