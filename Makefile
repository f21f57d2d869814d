# Two commands for a newcomer: `make sweep` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two markers, because a sweep needs none of what the tests do: ruff, pytest, notebooks and the like.
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable

.PHONY: sweep test lint format bench clean

sweep: $(INSTALLED)
	$(BIN)/rramsweep -m experiment=quickstart

test: $(TESTABLE) lint
	$(BIN)/python -m pytest -n auto

lint: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TESTABLE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TESTABLE)
	$(BIN)/python -m pytest tests/benchmarks -s -p no:xdist

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(TESTABLE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[dev,all]'
	touch $@
