"""No password stands in the settings, because settings are copied into everything."""

import pytest
from pydantic import ValidationError

from lamella.tracking.settings import TrackingSettings


@pytest.mark.parametrize(
    "uri",
    [
        "https://anna:s3cret@host:5000/x",
        "http://s3cret@host",
        "postgresql://anna:s3cret@host/mlflow",
        "postgresql+psycopg2://anna:s3c/ret@host/mlflow",
        "mysql+pymysql://:s3cret@host/mlflow",
        "postgresql://host/mlflow?user=anna&password=s3cret",
    ],
)
def test_address_with_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(
        ValidationError, match=r"MLFLOW_TRACKING_PASSWORD, and .* ~/\.pgpass"
    ) as found:
        TrackingSettings(uri=uri)
    assert "ret@" not in str(found.value)
    # What the config file's faults are told from: the address is part of a mapping, never shown.
    (details,) = found.value.errors()
    assert details["input"] == {"uri": uri}


@pytest.mark.parametrize(
    "uri",
    [
        "https://host:5000/path@1",
        "http://127.0.0.1:5000",
        "sqlite:///results/mlflow.db",
        "sqlite:////home/a:b@c/mlflow.db",
        "postgresql://anna@host:5432/mlflow",
        "mysql+pymysql://host/mlflow?read_default_file=~/.my.cnf",
        "postgresql://host/mlflow?passfile=/home/anna/.pgpass",
    ],
)
def test_address_without_a_password_is_taken_as_it_is(uri: str) -> None:
    assert TrackingSettings(uri=uri).store_name == uri
