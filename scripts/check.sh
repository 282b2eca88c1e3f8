#!/usr/bin/env bash
# Lint, format, types, import direction and workflow style: everything that is checked without running.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH

failed=()
check() { # NAME COMMAND...
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf '[check] %-14s ok\n' "$name"
    else
        printf '[check] %-14s FAILED: %s\n%s\n' "$name" "$*" "$output"
        failed+=("$name")
    fi
}

check lint ruff check .
check format ruff format --check .
check types mypy
check imports lint-imports
check workflow-format snakefmt --check Snakefile workflow
check workflow-lint python scripts/lint_workflow.py
for script in scripts/*.sh scripts/slurm/* .ci/run tests/integration/slurm/*.sh; do
    check "$script" bash -n "$script"
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "[check] failed: ${failed[*]}"
    exit 1
fi
