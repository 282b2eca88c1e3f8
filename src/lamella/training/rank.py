"""One of the processes that train a network together; started by ``python -m lamella.training``."""

import logging
import sys
from collections.abc import Sequence

from lamella.training.lifeline import end_with_launcher


def main(words: Sequence[str]) -> None:
    """Train as one rank; the arguments are those of ``python -m lamella.training``.

    Raises:
        SystemExit: code 1, after the error was printed in one line.
    """
    # Imported late: loading them takes seconds, in which the launcher could already be gone.
    from lamella.errors import LamellaError
    from lamella.training.arguments import read_arguments
    from lamella.training.train import train_model

    arguments = read_arguments(words)
    # The launcher reads the level and logs the line; the time is added there.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    try:
        train_model(
            index=arguments.index,
            slides=arguments.slides,
            output_folder=arguments.output,
            name=arguments.run,
            run=arguments.training.runs[arguments.run],
            seed=arguments.seed,
            training=arguments.training,
            tracking=arguments.tracking,
        )
    except LamellaError as error:
        logging.getLogger(__name__).error("%s", error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    end_with_launcher()
    main(sys.argv[1:])
