# The project's tasks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
NEWEST := 3.3.2
AIRFLOW ?= $(NEWEST)
VENV ?= $(if $(filter $(NEWEST),$(AIRFLOW)),.venv,.envs/airflow-$(AIRFLOW))
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
AIRFLOWS := $(patsubst constraints/airflow-%.in,%,$(sort $(wildcard constraints/airflow-*.in)))
GROUPS_DEV := test browser distributed docs lint

$(if $(wildcard $(CONSTRAINTS)),,$(error There are no pins for Airflow $(AIRFLOW). There are for: $(AIRFLOWS)))

# For the matrix: --airflow VERSION, --python INTERPRETER, --part unit|live.
MATRIX ?=

BIN := $(VENV)/bin
# uv: the machine's own, else one inside the environment.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
NEED_UV = test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS)

.PHONY: help
help: ## List the tasks.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@$(NEED_UV)

# Which Airflow an environment of ours holds: with another AIRFLOW= it is made anew.
$(VENV)/.airflow-$(AIRFLOW): $(BIN)/python
	@if ls $(VENV)/.airflow-* >/dev/null 2>&1; then $(PYTHON) -m venv --clear $(VENV); fi
	@$(NEED_UV)
	@touch $@

$(VENV)/.run: $(VENV)/.airflow-$(AIRFLOW) pyproject.toml $(CONSTRAINTS)
	@echo "Installing Airflow $(AIRFLOW) and this package into $(VENV)."
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --editable . $(addprefix --group ,$(GROUPS_DEV))
	@touch $@

.PHONY: env
env: $(VENV)/.dev ## Make the development environment in .venv.

.PHONY: demo
demo: $(VENV)/.run ## Crash a real Airflow: stock and durable, side by side.
	@$(BIN)/airflow-durable demo

.PHONY: test
test: test-unit test-package test-schedules test-live ## Run all tests but the long ones.

.PHONY: test-unit
test-unit: $(VENV)/.dev ## Run the tests of the core and of the adapters, with the core's branch coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/core tests/adapters tests/matrix
	$(BIN)/coverage report

.PHONY: test-package
test-package: $(VENV)/.dev ## Build the wheel, install it into a fresh environment, and let Airflow find it.
	$(BIN)/pytest tests/package

.PHONY: test-schedules
test-schedules: $(VENV)/.dev ## Explore every schedule up to a short bound, and fuzz what comes from outside.
	$(BIN)/pytest tests/schedules tests/fuzz

.PHONY: schedules
schedules: $(VENV)/.dev ## Explore every schedule up to the full bounds: about half an hour (ARGS="--bound faults=1 --only wait" for less).
	$(BIN)/python -m tests.schedules $(ARGS)

.PHONY: test-live
test-live: $(VENV)/.dev ## Crash real workers of a real Airflow.
	$(BIN)/pytest tests/live

.PHONY: test-browser
test-browser: $(VENV)/.dev ## Look at the waits page of a real Airflow with a headless Chromium (Debian's chromium package).
	$(BIN)/pytest tests/browser

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Take the documentation's pictures of the waits page anew.
	SCREENSHOTS=docs/images $(BIN)/pytest tests/browser

FAULTS ?= 300
SEED ?= 1
SIZE ?= 40

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill a distributed Airflow FAULTS times under SEED, and write docs/chaos-report.md.
	$(BIN)/python -m tests.chaos --faults $(FAULTS) --seed $(SEED) --size $(SIZE) --report docs/chaos-report.md

.PHONY: chaos-short
chaos-short: $(VENV)/.dev ## The same with 20 faults, and no report.
	$(BIN)/pytest tests/chaos
	$(BIN)/python -m tests.chaos --faults 20 --seed $(SEED) --size 16 --drain-seconds 180

.PHONY: matrix
matrix: $(VENV)/.dev ## Run all tests on every supported Airflow, and write docs/matrix.md.
	$(BIN)/python -m tests.matrix run $(MATRIX)
	$(BIN)/python -m tests.matrix report --output docs/matrix.md

.PHONY: matrix-unit
matrix-unit: $(VENV)/.dev ## Run the tests of the core and of the adapters on every supported Airflow.
	$(BIN)/python -m tests.matrix run --part unit $(MATRIX)

.PHONY: canary
canary: $(VENV)/.dev ## Test with the newest Airflow and standard provider on PyPI, pre-releases among them, and print what broke.
	$(BIN)/python -m tests.matrix.canary

.PHONY: lint
lint: $(VENV)/.dev ## Check style, and which room imports which.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --no-cache

.PHONY: types
types: $(VENV)/.dev ## Check types.
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what can be mended.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: constraints
constraints: $(BIN)/python ## Choose the pins of every supported Airflow anew.
	@for version in $(AIRFLOWS); do \
	  echo "constraints/airflow-$$version.txt"; \
	  python=$$(sed -nE 's/^# Python ([0-9.]+):.*/\1/p' constraints/airflow-$$version.in); \
	  $(UV) pip compile --quiet --universal --python-version $${python:-3.10} --upgrade --no-header --no-annotate --no-emit-index-url \
	    $(addprefix --group ,$(GROUPS_DEV)) pyproject.toml constraints/airflow-$$version.in --output-file constraints/airflow-$$version.txt; \
	done

.PHONY: build
build: $(BIN)/python ## Build the wheel.
	$(UV) build --quiet --wheel

# The site.
.PHONY: docs
docs: $(VENV)/.dev ## Build the site into site/, with warnings as errors.
	rm -rf site
	AIRFLOW__CORE__UNIT_TEST_MODE=True $(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env --quiet docs site

.PHONY: test-docs
test-docs: $(VENV)/.dev ## Execute every code block of the README and of docs/.
	$(BIN)/pytest tests/docs

.PHONY: bench
bench: $(VENV)/.dev ## Measure against the stock operator, and write docs/benchmarks.md (about an hour and three quarters).
	rm -f bench-results.json
	$(BIN)/python -W ignore -m bench --write docs/benchmarks.md

.PHONY: bench-quick
bench-quick: $(VENV)/.dev ## Run small forms of the benchmarks: that they run (under five minutes).
	$(BIN)/python -W ignore -m bench --quick --results $$(mktemp -d)/results.json
