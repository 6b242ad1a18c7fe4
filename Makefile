# Everything is installed into .venv from hash-locked requirements; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECT := pyproject.toml clients/python/pyproject.toml

.DEFAULT_GOAL := help

export PIP_DISABLE_PIP_VERSION_CHECK := 1

##@ Use

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/run.stamp ## Serve on 127.0.0.1:50051 with a SQLite file in var/, and print lines to try it with
	@exec $(BIN)/wallet serve

.PHONY: test
test: $(VENV)/dev.stamp ## Run all tests, on SQLite and on a PostgreSQL that they start themselves
	$(BIN)/pytest --numprocesses 3 --dist worksteal

##@ Change

.PHONY: check
check: lint types protos-check test ## Everything CI runs, in its order

.PHONY: lint
lint: $(VENV)/dev.stamp ## Check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(VENV)/dev.stamp ## Check types
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/dev.stamp ## Format everything
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .
	$(BIN)/buf format --write

.PHONY: protos
protos: $(VENV)/dev.stamp ## Generate the stubs in clients/python from protos/
	$(BIN)/python scripts/generate_protos.py

.PHONY: protos-check
protos-check: $(VENV)/dev.stamp ## Check the contract: lint, format, compatibility, stubs up to date
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking protos --against protos/released.binpb
	$(BIN)/python scripts/generate_protos.py --check

.PHONY: release-protos
release-protos: $(VENV)/dev.stamp ## Make today's contract the one that later changes must not break
	$(BIN)/buf build protos --output protos/released.binpb

.PHONY: audit
audit: $(VENV)/dev.stamp ## Look for known weaknesses in the dependencies
	$(BIN)/pip-audit --requirement requirements/dev.txt --require-hashes --disable-pip

.PHONY: bench
bench: $(VENV)/bench.stamp ## Measure where the wallet stands, as ratios in one run (options: BENCH="--help")
	PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python -m benchmarks $(BENCH)

.PHONY: lock
lock: $(VENV)/dev.stamp ## Lock the newest dependencies that fit
	UV="$(BIN)/uv" sh scripts/lock.sh

.PHONY: clean
clean: ## Remove what was installed and built, but not var/
	rm -rf $(VENV) build dist *.egg-info $(addprefix clients/python/, build dist *.egg-info) .mypy_cache .ruff_cache .pytest_cache

$(VENV)/run.stamp: requirements/run.txt $(PROJECT)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/run.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable clients/python --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

$(VENV)/bench.stamp: requirements/bench.txt $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/bench.txt
	@touch $@
