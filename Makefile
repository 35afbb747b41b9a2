# Every target does its own set-up: on a fresh machine with Python 3.11 to 3.13, each alone is enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo up test test-long lint types bench constraints clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## make .venv with FinSight and all it needs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "FinSight needs Python 3.11 to 3.13; this is %d.%d. Set PYTHON=/path/to/python3.11" % v)'
	@echo "Setting up $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## the main job on recorded real data, offline; Ctrl-C stops it
	@$(BIN)/finsight demo $(ARGS)

up: $(READY) ## the platform on live exchanges and feeds; Ctrl-C stops it
	@$(BIN)/finsight up $(ARGS)

# What needs no Ray runs on every processor; what starts and kills processes wants them for itself.
test: $(READY) ## the test suite; ARGS="tests/unit -k sweep" for a part of it
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --ignore tests/ray --ignore tests/journeys
	@$(BIN)/python -m pytest tests/ray tests/journeys
	@$(BIN)/python -m pytest -m "alone and not long" tests/ray/test_training_jobs.py
endif

test-long: $(READY) ## the tests that take a minute each (a quarter of an hour)
	@$(BIN)/python -m pytest -m "long and not alone" $(ARGS)
	@$(BIN)/python -m pytest -m "long and alone" tests/ray/test_training_jobs.py tests/ray/test_job_submission.py

lint: $(READY) ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## types
	@$(BIN)/mypy

BENCHMARKS := read_candles backfill gateway_overhead sentiment_quantisation sentiment_throughput \
  news_latency backtest_vs_vectorbt backtest_peers sweep_over_ray known_strategies forecast_walk_forward ett

bench: $(READY) ## the benchmarks, ours beside the peer's (an hour); phrasebank by itself
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

constraints: ## resolve the dependencies anew, for Python 3.11 to 3.13
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header \
	  --extra dev pyproject.toml --output-file constraints.txt
	@sed -i '1i # Every dependency, pinned for Python 3.11 to 3.13. Made by: make constraints' constraints.txt

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
