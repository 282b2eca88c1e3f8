"""A workflow run that was killed is closed by the next one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lamella.tracking.record import RunStatus, read_record
from lamella.tracking.workflow import (
    current_workflow_run,
    finish_workflow_run,
    start_workflow_run,
    workflow_folder,
)


def test_the_next_workflow_run_marks_an_unended_one_as_killed(working_folder: Path) -> None:
    first = start_workflow_run("study", {"a": 1})
    second = start_workflow_run("study", {"a": 1})
    finish_workflow_run(succeeded=False)
    assert first != second
    assert read_record(workflow_folder(first)).status is RunStatus.KILLED
    assert read_record(workflow_folder(second)).status is RunStatus.FAILED
    assert current_workflow_run() == {}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{")])
def test_the_lost_record_of_an_earlier_run_keeps_no_run_from_starting(
    working_folder: Path, spoil: Callable[[Path], object]
) -> None:
    first = start_workflow_run("study", {})
    spoil(workflow_folder(first) / "record.json")
    assert start_workflow_run("study", {}) != first


def test_equal_configurations_have_equal_fingerprints(working_folder: Path) -> None:
    fingerprints = []
    for config in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}):
        start_workflow_run("study", config)
        fingerprints.append(current_workflow_run()["config_fingerprint"])
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
