# make demo      install pcam in .venv and run the whole workflow on synthetic patches
# make test      install the test dependencies and run the tests
# make test-lowest, make test-newest   run the tests with the lowest or the newest versions allowed (TESTS=, VERSION=)
# make lint      run ruff and mypy
# make campaign  try faults for two hours: kills, full disks, links, damaged files (SECONDS=, SEED=)
# make bench     measure the speed of the families beside common libraries
# make docs      regenerate docs/commands.md, docs/features.md and docs/kernels.md
# make site      build the documentation site in site/
# make man       write a manual page for each command in build/man/
# make clean     remove everything that these targets created

PYTHON ?= python3
SECONDS ?= 7200
SEED ?= 0
TESTS ?=
VERSION ?= 3.11
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-lowest test-newest campaign lint bench docs site man clean

.venv/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pcam needs Python 3.11 or newer; choose one with make PYTHON=python3.12")'
	@echo "Setting up .venv; this takes a minute or two, once" >&2
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[all]'
	@touch $@

.venv/made-dev: .venv/made
	@echo "Installing the test dependencies" >&2
	$(INSTALL) --editable '.[dev]'
	@touch $@

demo: .venv/made
	$(BIN)/pcam demo

test: .venv/made-dev
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: .venv/made
	$(INSTALL) uv
	$(BIN)/uv venv --quiet --clear --python $(VERSION) .venv/$@
	$(BIN)/uv pip install --quiet --python .venv/$@ --resolution $(RESOLUTION) --editable '.[dev]'
	.venv/$@/bin/python -m pytest $(TESTS)

campaign: .venv/made-dev
	PCAM_CAMPAIGN_SECONDS=$(SECONDS) PCAM_CAMPAIGN_SEED=$(SEED) $(BIN)/python -m pytest -rs tests/campaign

lint: .venv/made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/made-dev
	$(BIN)/pcam bench

docs: .venv/made-dev
	$(BIN)/python -m typer pcam_features.cli.main utils docs --name pcam --title Commands --output docs/commands.md
	$(BIN)/pcam features --markdown > docs/features.md
	$(BIN)/python -m pcam_features.diagnostics.kernel_usage > docs/kernels.md

site: .venv/made-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

man: .venv/made
	$(BIN)/python -m pcam_features.cli.man build/man

clean:
	rm -rf .venv demo build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
