# make run          start the server with the sample game and 200 bots; prints one URL
# make test         everything: style, types, import contracts, unit, browser, bench-smoke tests
# make check        style, types and import contracts alone
# make bench-smoke  the benches, small: they run, and what they computed is right
# make format       put the code into the formatter's shape
# make clean        remove what the above made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
BOTS ?= 200
WORKERS ?= 2
SEEDS ?= 0:2000
ARGS ?=

# The tests start hundreds of processes. Each would compile the server anew.
unexport PYTHONDONTWRITEBYTECODE

# Tests wait for some of their time, benches for most of it: so many more of them than processors keep those busy.
PYTEST = $(BIN)/pytest -q --dist worksteal
more = -n $(shell expr $(WORKERS) + $(1))

.PHONY: help
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# -- set-up: stamps, so that it costs nothing the second time ------------------

SETUP = pyproject.toml constraints.txt scripts/setup-venv.sh

$(VENV)/.stamp-run: $(SETUP)
	@scripts/setup-venv.sh $(VENV)
	@touch $@

# With all that the other has, installed at once.
$(VENV)/.stamp-dev: $(SETUP)
	@scripts/setup-venv.sh $(VENV) dev
	@touch $(VENV)/.stamp-run $@

# -- run -----------------------------------------------------------------------

# A person reads it; a settings file of one's own has its own say about logs.
RUN_LOG = $(if $(findstring --config,$(ARGS)),,EVERSTEP_LOG__FORMAT=console EVERSTEP_LOG__LEVEL=warning)

.PHONY: run
run: $(VENV)/.stamp-run
	@$(RUN_LOG) exec $(BIN)/everstep run --bots $(BOTS) $(ARGS)

# -- test ----------------------------------------------------------------------

# The simulator never waits, the others do for half of their time.
.PHONY: test
test: system
	@MAKE="$(MAKE)" scripts/beside.sh test-simulator check test-python test-js test-browser test-bench
	@echo "make test: all passed"

.PHONY: system
system: $(VENV)/.stamp-dev
	@scripts/setup-test-system.sh

.PHONY: check
check: $(VENV)/.stamp-dev
	@echo "== style, types, import contracts"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: test-python
test-python: $(VENV)/.stamp-dev
	@echo "== unit, property and determinism tests"
	@$(PYTEST) $(call more,1) -m "not browser and not bench" $(ARGS)

# The cluster on virtual time, with faults. Another part of the seeds: make test-simulator SEEDS=2000:5000
.PHONY: test-simulator
test-simulator: $(VENV)/.stamp-dev
	@echo "== simulator"
	@$(BIN)/python -m tests.simulator --seeds $(SEEDS) --jobs $(WORKERS)

.PHONY: test-js
test-js: $(VENV)/.stamp-run
	@echo "== tests of the JavaScript client"
	@EVERSTEP_PYTHON=$(abspath $(BIN))/python scripts/test-js.sh

# After the others: it draws.
.PHONY: test-browser
test-browser: $(VENV)/.stamp-dev
	@echo "== browser tests"
	@scripts/with-chromium.sh $(BIN)/pytest -q -n $(WORKERS) --dist loadfile -o testpaths=tests/browser -m browser $(ARGS)

.PHONY: test-bench
test-bench: $(VENV)/.stamp-dev
	@echo "== bench-smoke tests"
	@$(PYTEST) $(call more,3) -o testpaths=tests/bench -m bench $(ARGS)

.PHONY: bench-smoke
bench-smoke: $(VENV)/.stamp-dev
	@$(BIN)/python -m bench entities --count 10000
	@$(BIN)/python -m bench floor --clients 100 --seconds 5
	@$(BIN)/python -m bench crowd --clients 100 --seconds 5

.PHONY: format
format: $(VENV)/.stamp-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: clean
clean:
	rm -rf $(VENV) .venv-mongo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build ./*.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
