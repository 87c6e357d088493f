# The project's tasks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
NEWEST := 3.3.2
AIRFLOW ?= $(NEWEST)
# The standard provider, and all else, beside that Airflow: newest, or own (what was newest when the Airflow came out).
PROVIDER ?= newest
$(if $(filter newest own,$(PROVIDER)),,$(error PROVIDER is newest or own, not $(PROVIDER)))
PINS := airflow-$(AIRFLOW)$(if $(filter own,$(PROVIDER)),-own)
VENV ?= $(if $(filter airflow-$(NEWEST),$(PINS)),.venv,.envs/$(PINS))
CONSTRAINTS := constraints/$(PINS).txt
ALL_PINS := $(patsubst constraints/%.in,%,$(sort $(wildcard constraints/airflow-*.in)))
OWN_PINS := $(filter %-own,$(ALL_PINS))
GROUPS_OWN := test browser distributed lint
# The tools of the site and of the package do not go with every old Airflow's own dependencies.
GROUPS_DEV := $(GROUPS_OWN) $(if $(filter own,$(PROVIDER)),,docs package)

$(if $(wildcard $(CONSTRAINTS)),,$(error There are no pins $(PINS). There are: $(ALL_PINS)))

# For the matrix: --airflow VERSION, --provider newest|own, --python INTERPRETER, --part unit|main-live|live.
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

# Which Airflow an environment of ours holds: with another AIRFLOW= or PROVIDER= it is made anew.
$(VENV)/.$(PINS): $(BIN)/python
	@if ls $(VENV)/.airflow-* >/dev/null 2>&1; then $(PYTHON) -m venv --clear $(VENV); fi
	@$(NEED_UV)
	@touch $@

$(VENV)/.run: $(VENV)/.$(PINS) pyproject.toml $(CONSTRAINTS)
	@echo "Installing Airflow $(AIRFLOW) ($(PROVIDER) provider) and this package into $(VENV)."
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
test-unit: test-core test-adapters ## Run the tests of the core and of the adapters, side by side with stock.

.PHONY: test-core
test-core: $(VENV)/.dev ## Run the tests of the core, with its branch coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/core
	$(BIN)/coverage report

.PHONY: test-adapters
test-adapters: $(VENV)/.dev ## Run the tests of the adapters, side by side with stock, and those of the matrix.
	$(BIN)/pytest tests/adapters tests/sidebyside tests/matrix

.PHONY: mutants
mutants: $(VENV)/.dev ## Change the core in every small way, and see which change no test of the core notices: two hours and more (not in CI; MODULES="decide record" for some of it).
	$(UV) pip install --quiet --python $(BIN)/python --group mutants
	$(if $(MODULES),,rm -rf mutants)
	$(BIN)/mutmut run --max-children $(or $(CHILDREN),2) $(foreach module,$(MODULES),"airflow_durable.core.$(module).*")
	$(BIN)/mutmut results | grep -v "not checked" || true

.PHONY: test-package
test-package: $(VENV)/.dev ## Build the wheel, install it into a fresh environment, and let Airflow find it.
	$(BIN)/pytest tests/package

.PHONY: test-schedules
test-schedules: $(VENV)/.dev ## Explore every schedule up to a short bound, and fuzz what comes from outside.
	$(BIN)/pytest tests/schedules tests/fuzz

.PHONY: schedules
schedules: $(VENV)/.dev ## Explore every schedule up to the full bounds: about half an hour (ARGS="--bound faults=1 --only wait" for less).
	$(BIN)/python -m tests.schedules $(ARGS)

.PHONY: poller-faults
poller-faults: $(VENV)/.dev ## Let a simulated server fail in 200 random ways under the poller of the deferred waits (SEEDS=1000 for more).
	FAULT_SEEDS=$(or $(SEEDS),200) $(BIN)/pytest tests/adapters/test_poller_faults.py

.PHONY: test-live
test-live: $(VENV)/.dev ## Crash real workers of a real Airflow.
	$(BIN)/pytest tests/live

.PHONY: test-upstream
test-upstream: $(VENV)/.dev ## Run the stock operator's own unit tests, from its sdist, on operators under the switch (not in CI).
	$(UV) pip install --quiet --python $(BIN)/python pip time-machine
	$(BIN)/python -m tests.upstream

.PHONY: test-many
test-many: $(VENV)/.dev ## The same with many children of one task: 300 of them, and every schedule up to a longer bound.
	MANY_CHILDREN=300 $(BIN)/pytest tests/live/test_many.py
	MANY_SCHEDULES=full $(BIN)/pytest tests/schedules/test_many.py

.PHONY: bench-many
bench-many: $(VENV)/.dev ## Measure many children of one task, and write docs/benchmarks-many.md (NUMBERS="100 1000 10000 100000" MAPPED="200 1000" for more, about an hour and a half; DATABASE=sqlite).
	$(BIN)/python -W ignore -m bench.many $(or $(NUMBERS),100 1000) --mapped $(or $(MAPPED),50) --database $(or $(DATABASE),postgresql) --write docs/benchmarks-many.md

.PHONY: test-browser
test-browser: $(VENV)/.dev ## Look at the waits page of a real Airflow with a headless Chromium (Debian's chromium package).
	$(BIN)/pytest tests/browser

.PHONY: test-prometheus
test-prometheus: $(VENV)/.dev ## Scrape an Airflow with a real Prometheus (Debian's prometheus package), and run the dashboard's queries and the alert rules (not in CI).
	$(UV) pip install --quiet --python $(BIN)/python --group prometheus
	$(BIN)/pytest tests/prometheus

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Take the documentation's pictures of the waits page anew, on Airflow's default settings (about a quarter of an hour).
	SCREENSHOTS=docs/images $(BIN)/pytest tests/browser/test_screenshots.py

FAULTS ?= 300
SEED ?= 1
SIZE ?= 40

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill a distributed Airflow FAULTS times under SEED, and write docs/chaos-report.md.
	$(BIN)/python -m tests.chaos --faults $(FAULTS) --seed $(SEED) --size $(SIZE) --report docs/chaos-report.md

.PHONY: chaos-short
chaos-short: $(VENV)/.dev ## The same with one fault of each kind, and no report.
	$(BIN)/pytest tests/chaos
	$(BIN)/python -m tests.chaos --faults 13 --seed $(SEED) --size 12 --drain-seconds 180

.PHONY: matrix
matrix: $(VENV)/.dev ## Run all tests on every supported Airflow, and write docs/matrix.md.
	$(BIN)/python -m tests.matrix run $(MATRIX)
	$(BIN)/python -m tests.matrix report --output docs/matrix.md

.PHONY: matrix-unit
matrix-unit: $(VENV)/.dev ## Run the tests of the core and of the adapters on every supported Airflow.
	$(BIN)/python -m tests.matrix run --part unit $(MATRIX)

.PHONY: matrix-main
matrix-main: $(VENV)/.dev ## Run these and the live scenarios that matter most on every supported Airflow.
	$(BIN)/python -m tests.matrix run --part unit --part main-live $(MATRIX)

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
format: $(VENV)/.dev ## Format the code and fix what can be fixed automatically.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

COMPILE := $(UV) pip compile --quiet --universal --upgrade --no-header --no-annotate --no-emit-index-url

.PHONY: constraints
constraints: $(BIN)/python ## Choose the pins of every supported Airflow anew.
	@for pins in $(filter-out $(OWN_PINS),$(ALL_PINS)); do \
	  echo "constraints/$$pins.txt"; \
	  python=$$(sed -nE 's/^# Python ([0-9.]+):.*/\1/p' constraints/$$pins.in); \
	  $(COMPILE) --python-version $${python:-3.10} $(addprefix --group ,$(GROUPS_DEV)) pyproject.toml constraints/$$pins.in --output-file constraints/$$pins.txt; \
	done

# Two steps: what Airflow needs as it was on the day that the .in file names, then our own tools beside that.
.PHONY: constraints-own
constraints-own: $(BIN)/python ## Choose anew the pins that stand for each Airflow's own constraints, by upload date.
	@then=$$(mktemp); trap 'rm -f "$$then"' EXIT; \
	for pins in $(OWN_PINS); do \
	  echo "constraints/$$pins.txt"; \
	  day=$$(sed -n 's/^# exclude-newer: //p' constraints/$$pins.in); \
	  $(COMPILE) --python-version 3.10 --exclude-newer "$$day" constraints/$$pins.in --output-file "$$then"; \
	  $(COMPILE) --python-version 3.10 $(addprefix --group ,$(GROUPS_OWN)) --constraint "$$then" \
	    pyproject.toml constraints/$$pins.in --output-file constraints/$$pins.txt; \
	done

.PHONY: build
build: $(BIN)/python ## Build the sdist, and from it the wheel, into dist/.
	rm -rf dist
	$(UV) build --quiet

.PHONY: check-build
check-build: $(VENV)/.dev build ## Check what an index would make of the sdist and the wheel.
	$(BIN)/twine check --strict dist/*

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
