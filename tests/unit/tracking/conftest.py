"""A working folder of its own, a record, an ONNX model, and a real tracking server."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper

from lamella.tracking.record import Dataset, Metric, ModelArtifact, Record, Tensor
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.store import prepare_tracking


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the SQLite store once; its migrations take seconds."""
    folder = tmp_path_factory.mktemp("store")
    before = Path.cwd()
    os.chdir(folder)
    try:
        prepare_tracking(TrackingSettings(), Path("results/mlflow/ready.json"))
    finally:
        os.chdir(before)
    return folder / "results/mlflow/mlflow.db"


@pytest.fixture
def sqlite_store(working_folder: Path, _empty_store: Path) -> TrackingSettings:
    store = working_folder / "results/mlflow/mlflow.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(_empty_store.read_bytes())
    return TrackingSettings()


@pytest.fixture
def make_record() -> Callable[..., Record]:
    def make(folder: Path, name: str = "thin seed 1", epochs: int = 3) -> Record:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.tsv").write_text("epoch\tloss\n0\t0.7\n")
        curve = [
            Metric(key="loss", value=0.5**epoch, step=epoch, timestamp_ms=1_700_000_000_000 + epoch)
            for epoch in range(epochs)
        ]
        return Record(
            kind="training",
            name=name,
            params={"learning_rate": "0.01", "model": "resnet50"},
            metrics=curve,
            artifacts=["history.tsv"],
            datasets=[
                Dataset(
                    name="patches",
                    digest="0123456789abcdef" * 4,
                    source="results/patches/index.parquet",
                    context="training",
                )
            ],
        )

    return make


def write_redness(path: Path) -> None:
    """Write a model whose two outputs are the mean of red and of green, of (n, 4, 6, 3) pixels."""
    pixels = helper.make_tensor_value_info("patches", TensorProto.UINT8, ["n", 4, 6, 3])
    means = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("Cast", ["patches"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["colours"], keepdims=0),
        helper.make_node("Gather", ["colours", "first_two"], ["probabilities"], axis=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("first_two", TensorProto.INT64, [2], [0, 1]),
    ]
    graph = helper.make_graph(nodes, "redness", [pixels], [means], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


@pytest.fixture
def model_artifact() -> Callable[[Path], ModelArtifact]:
    def make(folder: Path) -> ModelArtifact:
        folder.mkdir(parents=True, exist_ok=True)
        write_redness(folder / "model.onnx")
        example = np.full((1, 4, 6, 3), (10, 20, 30), dtype=np.uint8)
        np.save(folder / "example.npy", example)
        return ModelArtifact(
            path="model.onnx",
            inputs=(Tensor(name="patches", dtype="uint8", shape=(-1, 4, 6, 3)),),
            outputs=(Tensor(name="probabilities", dtype="float32", shape=(-1, 2)),),
            input_example="example.npy",
            name="thin",
            alias="champion",
            params={"classes": "normal tumor"},
        )

    return make


@dataclass
class Server:
    """A real ``mlflow server``, started and stopped at will, always at the same address.

    Attributes:
        folder: Where its log and its artifacts lie.
        store: Address of its database.
        port: Where it listens.
        process: The server, while it runs.
    """

    folder: Path
    store: str
    port: int
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.folder / "server_artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **quiet},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 240
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            self._kill(process, sign)
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                self._kill(process, signal.SIGKILL)
                process.wait()

    @staticmethod
    def _kill(process: "subprocess.Popen[bytes]", sign: signal.Signals) -> None:
        """Send a signal to the group that this test started, unless it has ended by itself."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture
def server(working_folder: Path, _empty_store: Path) -> Iterator[Server]:
    store = working_folder / "server.db"
    store.write_bytes(_empty_store.read_bytes())
    each = Server(working_folder, f"sqlite:///{store}", free_port())
    try:
        yield each
    finally:
        each.stop()


@pytest.fixture
def losing_answers() -> Callable[[int, set[str]], AbstractContextManager[str]]:
    return _losing_answers


@contextmanager
def _losing_answers(server_port: int, paths: set[str]) -> Iterator[str]:
    """Pass requests on to a server, but lose its answer to the first one for each of some paths.

    Yields:
        Address that takes the requests.
    """

    class Forward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            uri = f"http://127.0.0.1:{server_port}{self.path}"
            headers = {key: value for key, value in self.headers.items() if key != "Host"}
            answer = requests.request(self.command, uri, data=body, headers=headers, timeout=120)
            lost = [path for path in paths if self.path.endswith(path)]
            paths.difference_update(lost)
            if lost:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_HEAD = do_PUT = do_PATCH = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}"
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a tracking server whose store is a PostgreSQL of this module's own."""
    with postgres_database() as store:
        each = Server(tmp_path_factory.mktemp("server"), store, free_port())
        try:
            each.start()
            yield each
        finally:
            each.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def postgres_database() -> Iterator[str]:
    """Run a PostgreSQL with an empty database, for as long as the block lasts.

    Yields:
        Address of the database.
    """
    programs = postgres_programs()
    # As root it refuses to run; Debian's package brings the user postgres.
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    become = become if os.geteuid() == 0 else []
    if become and "postgres" not in [user.pw_name for user in pwd.getpwall()]:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    # Not in pytest's folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="lamella-postgres-") as temporary:
        folder = Path(temporary)
        if become:
            shutil.chown(folder, "postgres", "postgres")
        make = [programs / "initdb", "-D", folder / "data", "-U", "mlflow", "-A", "trust"]
        subprocess.run([*become, *make, "--no-sync"], check=True, capture_output=True, cwd=folder)
        run = [*become, programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1"]
        run += ["-k", folder, "-c", "fsync=off"]
        process, port = _running(run, programs, folder)
        try:
            yield f"postgresql+pg8000://mlflow@127.0.0.1:{port}/mlflow"
        finally:
            _end(process)


def _running(run: list[Any], programs: Path, folder: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """Return a PostgreSQL that has an empty database, and its port.

    A port that was free may be taken meanwhile by somebody else; then another one is tried.
    """
    log = folder / "log"
    for _ in range(5):
        port = free_port()
        with log.open("wb") as output:
            command = [*run, "-p", str(port)]
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            if _is_made(process, programs, folder, port):
                return process, port
        except BaseException:
            _end(process)
            raise
        assert "in use" in log.read_text(), log.read_text()
    raise AssertionError(log.read_text())


def _is_made(process: "subprocess.Popen[bytes]", programs: Path, folder: Path, port: int) -> bool:
    """Make the database once PostgreSQL answers; return whether it does not end instead."""
    # By its socket in the folder: whoever else has the port does not answer there.
    create = [programs / "createdb", "-h", folder, "-p", str(port), "-U", "mlflow", "mlflow"]
    deadline = time.monotonic() + 120
    while process.poll() is None:
        if subprocess.run(create, capture_output=True, check=False).returncode == 0:
            return True
        assert time.monotonic() < deadline, "PostgreSQL does not answer"
        time.sleep(0.1)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)  # ends it without waiting for who is connected
    try:
        process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve())
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent
