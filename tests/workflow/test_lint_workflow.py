import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "scripts" / "lint_workflow.py"

OUTPUT = """Using profile somewhere.
Lints for snakefile rules/a.smk:
    * Absolute path "/data" in line 3:
      Do not define absolute paths.

Lints for rule first (line 6, rules/a.smk):
    * Specify a conda environment or container for each rule.:
      This way, the used software is documented.
      Also see:
      elsewhere

Lints for rule second (line 9, rules/a.smk):
    * No log directive defined:
      Without a log directive, all output is printed.
    * Specify a conda environment or container for each rule.:
      This way, the used software is documented.
"""


@pytest.fixture
def applying():
    spec = importlib.util.spec_from_file_location("lint_workflow", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.applying


def test_only_the_finding_on_environments_is_left_out(applying):
    first, second = applying(OUTPUT)
    assert first.startswith('Lints for snakefile rules/a.smk:\nAbsolute path "/data"')
    assert second.startswith("Lints for rule second (line 9, rules/a.smk):\nNo log directive")


def test_workflow_without_findings_gives_none(applying):
    assert applying("Congratulations, your workflow is in a good condition!\n") == []


def test_output_of_another_form_is_an_error(applying):
    with pytest.raises(ValueError, match="cannot read"):
        applying("Lints for rule first:\n  - something new\n")
