# make demo   set up and run the whole road on synthetic patches
# make test   set up and run the tests
# make lint   ruff and mypy
# make bench  time the families beside the usual libraries
# make docs  write docs/features.md and docs/kernels.md anew
# make clean  remove what these made

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint bench docs clean

.venv/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pcam needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	@echo "Setting up .venv: the first time takes a minute or two" >&2
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/made-dev: .venv/made
	@echo "Adding what the tests need" >&2
	$(INSTALL) --editable '.[dev]'
	@touch $@

demo: .venv/made
	$(BIN)/pcam demo

test: .venv/made-dev
	$(BIN)/python -m pytest

lint: .venv/made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/made-dev
	$(BIN)/pcam bench

docs: .venv/made-dev
	$(BIN)/pcam features --markdown > docs/features.md
	$(BIN)/python -m pcam_features.diagnostics.kernel_usage > docs/kernels.md

clean:
	rm -rf .venv demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
