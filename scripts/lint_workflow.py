"""Run ``snakemake --lint`` and leave out the one finding that does not apply.

It asks every rule for a conda environment or a container; here all rules share ``.venv``.
"""

import re
import subprocess
import sys
from pathlib import Path

_DOES_NOT_APPLY = "Specify a conda environment or container for each rule."


def applying(output: str) -> list[str]:
    """Return what Snakemake found, each with the rule or file it was found in.

    Raises:
        ValueError: the output is not that of the linter.
    """
    found = []
    for block in re.split(r"^(?=Lints for )", output, flags=re.MULTILINE)[1:]:
        subject, *findings = re.split(r"^    \* ", block, flags=re.MULTILINE)
        if not findings:
            raise ValueError(f"cannot read what snakemake --lint says: {block!r}")
        found += [
            subject + finding for finding in findings if not finding.startswith(_DOES_NOT_APPLY)
        ]
    return found


def main() -> int:
    """Print the findings that apply; return 1 when there are any, or when linting failed."""
    snakemake = Path(sys.executable).with_name("snakemake")
    ended = subprocess.run([snakemake, "--lint"], capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    findings = applying(output)
    print("\n".join(findings), end="")
    if ended.returncode != 0 and "Lints for " not in output:
        print(output)
        return 1
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
