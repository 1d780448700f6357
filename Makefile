# Every task of this repository. `make` lists them.
#
# Paths are relative throughout, so that a checkout may lie in a folder with blanks in its name.
# Stamps remember what is installed: a task installs again only when a lock file or
# pyproject.toml changed, or .venv is gone.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHONS := 3.11 3.12 3.13
PYTHON ?=
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
UV_READY := $(filter .tools/bin/uv,$(UV))

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.stamps
INSTALL := "$(UV)" pip install --quiet --python $(PY)

DEMO ?= demo-lake
DEMO_ROWS ?= 400
WORKERS ?= 2
SOAK_EXAMPLES ?= 2000
# Each of these keeps 95 % of its lines and branches under test.
COVERED := records.py rows.py scoring.py redaction/* sources/* exports/* drift/* vectors/* web/*

.PHONY: help setup demo test test-all lint pytest coverage-gate soak bench bench-vectors lock format docs clean

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: $(STAMPS)/runtime ## make .venv with the program in it (.venv/bin/stillhouse)

demo: $(STAMPS)/runtime ## write an example lake, distil it, show the funnel
	@$(VENV)/bin/stillhouse demo "$(DEMO)" --rows $(DEMO_ROWS) --json >/dev/null
	@$(VENV)/bin/stillhouse run "$(DEMO)"
	@$(VENV)/bin/stillhouse inspect "$(DEMO)"
	@echo
	@echo "The lake is $(DEMO)/:"
	@echo "  _kb/         the raw logs, as agents and pipelines would leave them"
	@echo "  distilled/   the training data; distilled/dataset/ opens with Hugging Face datasets"
	@echo "  quarantine/  every refused row with its reason"
	@echo "  receipts/    what was made from what: $(VENV)/bin/stillhouse verify $(DEMO)"

test: lint pytest coverage-gate ## linters, types, architecture and all tests

test-all: lint | $(UV_READY) ## the tests with every extra, on each of Python 3.11, 3.12, 3.13 that is installed
	@scripts/test-all "$(UV)" $(PYTHONS)

lint: $(STAMPS)/test ## the linters alone: style, types, architecture
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) $(VENV)/bin/lint-imports --no-logo

pytest: $(STAMPS)/test ## the tests alone, with coverage; PYTEST_ARGS="-k name" picks some
	@mkdir -p .reports && rm -f .reports/coverage*
	$(PY) -m pytest -n $(WORKERS) --cov --cov-report= --junitxml=.reports/junit.xml $(PYTEST_ARGS)

coverage-gate: pytest ## the tests, then what they cover
	@status=0; for part in $(COVERED); do \
		$(PY) -m coverage report --precision=1 --fail-under=95 --include="src/stillhouse/$$part" \
			>.reports/part.txt 2>&1 && word=ok || { word="under 95 %"; status=1; cat .reports/part.txt; }; \
		echo "coverage of $$part: $$(sed -n 's/^TOTAL.* //p' .reports/part.txt) $$word"; \
	done; exit $$status

soak: $(STAMPS)/test ## the tests with many more examples and trials (SOAK_EXAMPLES=2000)
	HYPOTHESIS_PROFILE=soak SOAK_EXAMPLES=$(SOAK_EXAMPLES) \
		$(PY) -m pytest -n $(WORKERS) -m "soak or not soak" $(PYTEST_ARGS)

bench: $(STAMPS)/bench ## rows per second beside the floor and the peers; BENCH_ARGS passes options
	$(PY) -m benchmarks $(BENCH_ARGS)

bench-vectors: $(STAMPS)/bench ## vector search beside bare faiss and other stores; BENCH_ARGS too
	$(PY) -m benchmarks.vectors $(BENCH_ARGS)

format: $(STAMPS)/test ## put every file into the house's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(STAMPS)/test ## write docs/cli.md and the tables that the pages take from the program
	$(PY) scripts/docs.py

lock: | $(UV_READY) ## write locks/ anew; UPGRADE=1 moves to the newest versions
	scripts/lock "$(UV)"

clean: ## remove what these tasks made, but for locks/ and docs/
	rm -rf $(VENV) .venvs .tools .reports .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist "$(DEMO)"

# ------------------------------------------------------------------------- environments

$(STAMPS)/runtime: locks/runtime.txt pyproject.toml | $(UV_READY)
	@$(PY) -c '' 2>/dev/null || { \
		python="$(PYTHON)"; \
		[ -n "$$python" ] || python=$$(scripts/find-python $(PYTHONS)) || { \
			echo "stillhouse needs one of Python $(PYTHONS); none runs here. Install one, or say which: make setup PYTHON=/path/to/python" >&2; exit 1; }; \
		"$(UV)" venv --quiet --seed --clear --python "$$python" $(VENV); }
	@echo "setup: installing locks/runtime.txt"
	@$(INSTALL) --compile-bytecode --no-deps --require-hashes -r locks/runtime.txt
	@$(INSTALL) --no-deps -e .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: locks/test.txt $(STAMPS)/runtime
	@echo "setup: installing locks/test.txt"
	@$(INSTALL) --no-deps --require-hashes -r locks/test.txt
	@touch $@

$(STAMPS)/bench: locks/bench.txt $(STAMPS)/runtime
	@echo "setup: installing locks/bench.txt"
	@$(INSTALL) --no-deps --require-hashes -r locks/bench.txt
	@touch $@

# Where uv is not on PATH, one of our own, pinned and hashed like everything else.
.tools/bin/uv: locks/uv.txt
	@python=$$(scripts/find-python $(PYTHONS) || echo python3); \
		"$$python" -m venv --clear .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/uv.txt
	@touch $@
