"""A record is read back as it was written, and equal content has an equal id."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lamella.errors import TrackingError
from lamella.tracking.record import Record, identify, read_record, write_record

MakeRecord = Callable[..., Record]


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(tmp_path)
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record


def test_the_id_does_not_depend_on_where_and_when_the_job_ran(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    first, second = make_record(tmp_path), make_record(tmp_path)
    second.started_ms, second.ended_ms, second.tags = 1, 2, {"lamella.host": "elsewhere"}
    assert identify(first, tmp_path) == identify(second, tmp_path)


def test_the_id_changes_with_a_metric_and_with_the_content_of_an_artifact(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record(tmp_path)
    first = identify(record, tmp_path)
    record.metrics[1].value = 0.6
    second = identify(record, tmp_path)
    (tmp_path / "history.tsv").write_text("other")
    assert len({first, second, identify(record, tmp_path)}) == 3


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"kind": "training"}')
    with pytest.raises(TrackingError, match=r"record\.json: is not a record"):
        read_record(tmp_path)
