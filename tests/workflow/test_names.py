"""One step has one name, and its script is thin."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RULE_FILES = sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*/*.py"))


@dataclass(frozen=True)
class Rule:
    """A rule as its text says it."""

    name: str
    text: str

    @property
    def docstring(self):
        return re.search(r'"""(.*?)"""', self.text, re.DOTALL)[1]

    @property
    def script(self):
        found = re.search(r'script:\s+"\.\./\.\./(.*?)"', self.text)
        return REPOSITORY / found[1] if found else None

    @property
    def log(self):
        return re.search(r'log:\s+"(.*?)"', self.text)[1]

    @property
    def wildcards(self):
        outputs = re.search(r"output:(.*?)log:", self.text, re.DOTALL)[1]
        expanded = set(re.findall(r"(\w+)=[A-Z]+", outputs))
        return set(re.findall(r"{(\w+)}", outputs)) - expanded


def read_rules():
    texts = [
        text
        for path in RULE_FILES
        for text in re.split(r"^(?=rule )", path.read_text(), flags=re.MULTILINE)
        if text.startswith("rule ")
    ]
    return [Rule(re.match(r"rule (\w+)", text)[1], text) for text in texts]


RULES = read_rules()
SCRIPTED = [rule for rule in RULES if rule.script]


def name(subject):
    return subject.name if isinstance(subject, Rule) else subject.stem


def test_only_what_starts_other_programs_has_no_script():
    assert [rule.name for rule in RULES if not rule.script] == ["train_model", "prepare_onnx2tf"]


def test_every_script_belongs_to_a_rule():
    assert {rule.script for rule in SCRIPTED} == set(SCRIPTS)


@pytest.mark.parametrize("rule", SCRIPTED, ids=name)
def test_rule_and_script_have_one_name_and_one_sentence(rule):
    assert rule.script.stem == rule.name
    assert ast.get_docstring(ast.parse(rule.script.read_text())) == rule.docstring


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_log_is_named_after_the_rule_and_holds_every_wildcard(rule):
    assert re.fullmatch(rf"results/logs/{rule.name}(/.+)?\.log", rule.log)
    assert set(re.findall(r"{(\w+)}", rule.log)) == rule.wildcards


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_rule_that_makes_results_names_its_revision(rule):
    exempt = {"prepare_tracking", "prepare_onnx2tf", "check_failures"}
    assert ("REVISION" in rule.text) != (rule.name in exempt)


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_is_imports_one_log_line_and_one_call_by_keywords(path):
    docstring, *imports, guard = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(line, ast.ImportFrom) for line in imports)
    assert ast.unparse(guard.test) == "__name__ == '__main__'"
    log, call = (statement.value for statement in guard.body)
    assert ast.unparse(log) == "start_job_log(snakemake.log[0])"
    assert call.func.id == path.stem
    assert call.args == []
    assert all(keyword.arg for keyword in call.keywords)


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_passes_values_on_unchanged(path):
    guard = ast.parse(path.read_text()).body[-1]
    calls = [
        node.func.id
        for node in ast.walk(guard.body[1].value)
        if isinstance(node, ast.Call)
        and node is not guard.body[1].value
        # The fleet is told how many cores the job has.
        and not ast.unparse(node).endswith(".within(snakemake.threads)")
    ]
    values = ("Settings", "Path", "Case", "Inputs", "Metric", "Name", "Format", "Precision")
    assert all(call.endswith(values) for call in calls)
    assert not any(isinstance(node, ast.BinOp | ast.IfExp) for node in ast.walk(guard))
