"""Where results are tracked."""

import re
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from lamella.settings import Settings

# A user name alone is no secret where a database asks for it: ~/.pgpass is searched by it. Before
# the @, SQLAlchemy takes everything up to it for the password, also a slash.
_SECRETS = re.compile(
    r"""https?://[^/?#]*@
    | (?!http)[+\w]+://[^:/@]*:[^@]*@
    | .*[?&](password|passwd|sslpassword)=""",
    re.VERBOSE,
)


class TrackingSettings(Settings):
    """Where MLflow keeps the runs, and how long a job waits for it."""

    # pydantic would print the address with the fault it finds in it.
    model_config = ConfigDict(hide_input_in_errors=True)

    uri: str | None = Field(default=None, pattern=r"^(https?|sqlite|postgresql|mysql)[+\w]*://.+")
    """Tracking server or database, without a password: settings are copied into logs, records and
    the report. Absent: SQLite in `results/mlflow/mlflow.db`."""

    alias: str = Field(default="champion", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    """Alias that the newest exported model of a run gets in the model registry."""

    timeout_s: int = Field(default=20, ge=1, le=600)
    """Seconds that one request to a tracking server may take."""

    retries: int = Field(default=2, ge=0, le=10)
    """How often a failed step of sending is tried again before the record stays unsent."""

    # Of the model and not of the field, because the input of a faulty field is printed.
    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.uri is not None and _SECRETS.match(self.uri):
            raise ValueError(
                "uri holds credentials, which would be copied into logs and records; name a "
                "server's user in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and a "
                "database's password in ~/.pgpass or ~/.my.cnf"
            )
        return self

    @property
    def store_name(self) -> str:
        """The store as people know it."""
        return self.uri or "results/mlflow"
