# The front door. `make` alone explains itself; everything it needs is made in .venv from constraints.txt.
# Settings: make demo CORES=4   make demo SNAKEMAKE_ARGS="--dry-run"   make test PYTEST_ARGS="-k pins"   make PYTHON=python3.12 ...

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-constraints
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTHON ?=
SNAKEMAKE_ARGS ?=
PYTEST_ARGS ?=
TEST_PROCESSES ?= 2
NONE_CHOSEN = $(if $(strip $(PYTEST_ARGS)),5,nothing)

# dcm2niix and friends live in the environment; user site-packages stay out of it.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

.PHONY: help
help:  ## this list
	@echo "Senmei: make medical images better, and prove it."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Then: $(BIN)/snakemake --list-target-rules"

.PHONY: install
install: $(STAMP)  ## .venv from constraints.txt; the others do it by themselves

.PHONY: demo
demo: $(STAMP)  ## every study on embedded phantoms, to results/demo/report/index.html
	@$(BIN)/python -m snakemake --cores $(CORES) --rerun-incomplete $(SNAKEMAKE_ARGS) demo
	@echo "The report: $(CURDIR)/results/demo/report/index.html"

.PHONY: test
test: $(STAMP)  ## all tests, the fast ones first
	@run() { $(BIN)/python -m pytest -x $(PYTEST_ARGS) "$$@" || [ $$? = $(NONE_CHOSEN) ]; }; \
	run -n $(TEST_PROCESSES) --dist loadfile tests/unit; run tests/workflow tests/e2e

.PHONY: test-slurm
test-slurm: $(STAMP)  ## faults and a real Slurm: kills, full disks, lost nodes (root; Debian's slurmctld slurmd slurm-client munge)
	@$(BIN)/python -m pytest -x $(PYTEST_ARGS) tests/faults tests/slurm

.PHONY: lint
lint: $(STAMP)  ## ruff, snakefmt, snakemake --lint, import-linter, mypy
	@echo "ruff";             $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@echo "snakefmt";         $(BIN)/python -m snakefmt --check Snakefile rules
	@echo "snakemake --lint"; $(BIN)/python -m snakemake --lint
	@echo "import-linter";    $(BIN)/lint-imports
	@echo "mypy";             $(BIN)/python -m mypy senmei

.PHONY: bench
bench: $(STAMP)  ## measure everything in benchmarks/ again (an hour or more), to docs/benchmarks.md
	@for script in benchmarks/*.py; do \
	  case $$script in */_*) continue;; esac; \
	  echo "== $$script"; PYTHONPATH="$(CURDIR)" $(BIN)/python -u "$$script"; \
	done

.PHONY: clean
clean:  ## remove .venv, caches and results/demo; other runs stay
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis results/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A finished installation is used as it is until constraints.txt changes; an interrupted one is taken up again.
$(STAMP): constraints.txt
	@python="$(PYTHON)"; \
	for candidate in $${python:-python3 python3.13 python3.12 python3.11}; do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "Senmei needs Python 3.11, 3.12 or 3.13."; \
	  echo "  found: $$($${python:-python3} --version 2>/dev/null || echo "no $${python:-python3}")"; \
	  echo "  fix:   install one of them and say which: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; \
	  exit 1; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  if ! "$$found" -m venv --clear $(VENV); then \
	    echo "Python cannot make a virtual environment here."; \
	    echo "  fix:   on Debian or Ubuntu: sudo apt-get install python3-venv"; \
	    rm -rf $(VENV); exit 1; \
	  fi; \
	fi
	@echo "Installing the pinned packages into $(VENV) (once; minutes, about 2 GB, more where torch brings CUDA)"
	@$(BIN)/python -m pip install --requirement constraints.txt || { \
	  echo "The installation did not finish; what is there is kept, so run make again."; \
	  echo "  If PyPI is reached through a proxy or a mirror, tell pip (pip config set global.index-url ...)."; exit 1; }
	@touch $@
