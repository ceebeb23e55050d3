# Two commands are enough: `make run` and `make test`. Both create the environment where there is none.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TEST := $(BIN)/python -m pytest

.PHONY: run test soak check bench up down
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11: set PYTHON=python3.11 (or later)"; exit 1; }
	@test -x $(BIN)/python || { echo "creating the environment in .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing pinned dependencies (a few minutes the first time)"
	@# torch first and pinned: what follows finds its requirement met and cannot replace it.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(STAMP)  ## the main job on made-up shapes, end to end
	@$(BIN)/adacrossnet run configs/quickstart.yaml

test: $(STAMP)  ## numerics and the real path end to end, at most 12 minutes on 2 cores
	$(TEST) -m "not soak" tests

soak: $(STAMP)  ## everything that kills or runs at length, a little over an hour
	$(TEST) -m soak tests

check: $(STAMP)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## speed as ratios measured in one run
	$(BIN)/python -m jobs.bench
	$(BIN)/python -m service.measure

up: $(STAMP)  ## a local cluster, MLflow and a submitter that stay up
	@$(BIN)/adacrossnet up

down: $(STAMP)
	@$(BIN)/adacrossnet down
