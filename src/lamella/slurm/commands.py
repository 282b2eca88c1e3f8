"""Ask SLURM by its own commands."""

import os
import subprocess

from lamella.errors import SlurmError

_ANSWER_LIMIT_S = 60


def ask(*command: str) -> str:
    """Return what one of SLURM's commands prints, times as seconds since 1970.

    Raises:
        SlurmError: the command is not here, fails, or does not answer.
    """
    # Whatever the user's own setting.
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_ANSWER_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise SlurmError(
            f"SLURM does not answer ({said.strip()})",
            " ".join(command),
            f"Look whether `{command[0]}` works here",
        ) from error
    return ended.stdout
