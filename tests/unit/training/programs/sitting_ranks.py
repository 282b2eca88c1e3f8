"""Two ranks by one of the site's launchers: [rank] BACKEND LAUNCHER WHAT FOLDER.

Each takes its seat, writes its process number and its variables into the folder, and does WHAT:
rank 1 fails or is killed, or both wait until they are asked to stop.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from lamella.training.rank import start
from lamella.training.settings import Backend, TrainingSettings


def rank(what: str, folder: Path, training: TrainingSettings) -> None:
    from lamella.training.seat import STOPPED, take_seat, tell
    from lamella.training.stopping import listening

    take_seat(training)
    print("INFO it", "sits", flush=True)
    seat = {key: value for key, value in os.environ.items() if key.startswith(NAMES)}
    number = seat.get("HOROVOD_RANK") or seat["RANK"]
    with listening() as request:
        written = folder / f"{number}.new"
        written.write_text(json.dumps({"process": os.getpid(), **seat}))
        written.rename(folder / number)
        if number == "1" and what == "fail":
            sys.exit(3)
        if number == "1" and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while not request.asked and not (folder / "stop").exists():
            time.sleep(0.05)
        # As all ranks stop where one is asked to.
        (folder / "stop").touch()
    tell(STOPPED)


NAMES = ("HOROVOD_", "RANK", "WORLD_SIZE", "LOCAL_", "GROUP_RANK", "GLOO_", "OMP_")


def main() -> None:
    from lamella.logs import start_job_log
    from lamella.slurm.settings import Launcher
    from lamella.training.launch_nodes import launch_on_nodes

    backend, launcher, _, folder = sys.argv[1:]
    start_job_log(Path(folder) / "log")
    # horovodrun has options that begin like these.
    command = [sys.executable, __file__, "rank", *sys.argv[1:], "--log", "--settings"]
    training = TrainingSettings(backend=Backend(backend), processes=2)
    launch_on_nodes(command, training, threads=3, launcher=Launcher(launcher))


if __name__ == "__main__":
    if sys.argv[1] == "rank":
        start()
        backend, _, what, folder = sys.argv[2:6]
        rank(what, Path(folder), TrainingSettings(backend=Backend(backend), processes=2))
    else:
        main()
