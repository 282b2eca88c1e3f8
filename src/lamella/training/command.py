"""Become the command that an environment variable holds.

For ``horovodrun``, which takes options of the program that it shall start for its own. It is named
by its file: ``-m`` would be such an option, too.
"""

import json
import os

COMMAND_VARIABLE = "LAMELLA_COMMAND"

if __name__ == "__main__":
    words = json.loads(os.environ.pop(COMMAND_VARIABLE))
    os.execvp(words[0], words)  # noqa: S606
