"""Launch two ranks that write their process numbers into a folder and sleep: [rank] FOLDER."""

import os
import sys
import time
from pathlib import Path

from lamella.training.launch import launch_training
from lamella.training.lifeline import end_with_launcher
from lamella.training.settings import Backend

if __name__ == "__main__":
    if sys.argv[1] == "rank":
        end_with_launcher()
        (Path(sys.argv[2]) / os.environ["RANK"]).write_text(str(os.getpid()))
        time.sleep(600)
    else:
        launch_training([sys.executable, __file__, "rank", sys.argv[1]], 2, backend=Backend.TORCH)
