"""A training that has nothing to do: it waits for the wish to stop, and ends well the second time.

Arguments: FOLDER MARGIN_S. The seconds that it waited are written into the folder,
and a file ``listens`` once it does.
"""

import logging
import os
import sys
import time
from pathlib import Path

from lamella.training.stopping import EXIT_STOPPED, listening
from lamella.training.time_limit import kept_within_time_limit

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    begun = time.monotonic()
    again = "SLURM_RESTART_COUNT" in os.environ
    margin_s = float(sys.argv[2])
    with kept_within_time_limit(margin_s, requeue=True), listening() as request:
        (Path(sys.argv[1]) / "listens").touch()
        while not again and not request.asked:
            time.sleep(0.05)
        if not again:
            (Path(sys.argv[1]) / "waited").write_text(str(time.monotonic() - begun))
            raise SystemExit(EXIT_STOPPED)
