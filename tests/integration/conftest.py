"""A working folder of its own, in which the whole workflow runs as a user would run it."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
_POLL_S = 0.05
_LIMIT_S = 900


class Workfolder:
    """A folder with a config, from which ``scripts/run_workflow.sh`` is started."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        (folder / "config").mkdir(parents=True)
        (folder / "config/config.yaml").write_text(yaml.safe_dump(dict(settings)))

    def __truediv__(self, path: str) -> Path:
        return self.folder / "results" / path

    def start(self, *goals: str) -> subprocess.Popen[bytes]:
        """Start the workflow in a process group of its own."""
        command = [
            REPOSITORY / "scripts/run_workflow.sh",
            "--snakefile",
            REPOSITORY / "Snakefile",
            "--profile",
            REPOSITORY / "profiles/local",
            *goals,
        ]
        with (self.folder / "workflow.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *goals: str) -> int:
        """Run the workflow to its end and return the exit status."""
        try:
            return self.start(*goals).wait(_LIMIT_S)
        finally:
            self.log = (self.folder / "workflow.log").read_text()

    def wait_for(self, happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
        """Wait until something happened; ``False`` when the workflow ended before."""
        deadline = time.monotonic() + _LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            if happened():
                return True
            time.sleep(_POLL_S)
        return False

    def kill_when(self, happened: Callable[[], bool], *goals: str) -> bool:
        """Run the workflow and kill all of it with SIGKILL as soon as something happened.

        Returns:
            Whether it happened; ``False`` when the workflow ended before.
        """
        process = self.start(*goals)
        try:
            return self.wait_for(happened, process)
        finally:
            # It may have ended by itself, which the caller is told.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def workfolder(tmp_path: Path) -> Callable[..., Workfolder]:
    """Return a maker of working folders below the test's own."""

    def make(name: str, settings: Mapping[str, object]) -> Workfolder:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Workfolder(tmp_path / name, settings)

    return make
