# Lamella's commands. "make demo" is the first one to type, "make test" the second.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cluster check lock docs containers clean

BIN := .venv/bin
# What the demo is: these slides, and config/examples/demo.yaml.
DEMO := --snakefile ../Snakefile --profile ../profiles/local --configfile ../config/examples/demo.yaml
# One thread a test process: two of them share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --durations 15
DRAWN := --slides 16 --slides-per-patient 1 --seed 1 --processes 2

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## make the environment .venv from envs/lamella.lock
	@scripts/setup.sh

demo: setup ## draw a small cohort of slides and run every layer on it
	@$(BIN)/lamella draw-cohort demo $(DRAWN)
	@cd demo && ../scripts/run_workflow.sh $(DEMO)
	@scripts/where_to_look.sh demo/results

test: check ## set up, run the checks and the whole test suite
	@scripts/system_packages.sh --wanted $(BIN)/python postgresql slurmctld slurmd sbatch munged
	@scripts/onnx2tf.sh >/dev/null || true # tests that need it tell so
	@$(PYTEST) -n 2 -m "not alone"
	@$(PYTEST) -m "alone and not faults" || [ $$? -eq 5 ] # 5: no test is marked so

test-cluster: setup ## all tests on a small SLURM of their own, with all its faults; as root
	@scripts/system_packages.sh --wanted $(BIN)/python mpirun
	@$(PYTEST) -m "slurm or faults"
	@LAMELLA_SLURM_ACCOUNTING=1 $(PYTEST) -m slurm -k "test_costs or test_submission or asks_less" # slurmdbd

check: setup ## lint, types, import direction, workflow style
	@scripts/check.sh

lock: ## write envs/*.lock anew from envs/*.in (make lock UPGRADE=--upgrade: newest versions)
	@scripts/lock.sh $(UPGRADE)

docs: setup ## write the generated tables and schemas anew
	@$(BIN)/lamella document

containers: ## build the image with Apptainer, Docker or Podman, and try it
	@containers/build.sh

clean: ## remove caches; never results, slides or the environment
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .cache/snakemake-lint
	find src scripts tests benchmarks -name __pycache__ -type d -exec rm -rf {} +
