#!/usr/bin/env bash
# Say where the results of a run lie.
set -euo pipefail

RESULTS=${1:-results}
cat <<TEXT

Done. Where to look:
  $RESULTS/report/index.html        the report: cohort, curves, engines, heatmaps, explanations
  $RESULTS/train/summary.tsv        how well the networks do on held-out patients
  $RESULTS/benchmark/summary.tsv    how fast the engines are, and how exact
  $RESULTS/patches/manifest.tsv     every slide, and why one was left out
  $RESULTS/logs/                    one log per job
Every run in MLflow:
  .venv/bin/mlflow ui --backend-store-uri sqlite:///$RESULTS/mlflow/mlflow.db
TEXT
