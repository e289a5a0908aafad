# These commands do everything on a machine with Python (3.11 to 3.13) and make:
#   make demo   set up .venv and show all of it on procedural surfaces (two minutes)
#   make test   set up .venv with the test tools and run the whole suite
#   make audit  known vulnerabilities and licences of all that is installed (needs a network)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT := .venv-audit
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check audit docs install install-test clean

demo: $(VENV)/.installed
	$(BIN)/vaeneer demo --out vaeneer-demo --overwrite

# A process of one thread for each core, each with whole files of tests, the longest ones first.
test: $(VENV)/.installed-test
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m vaeneer.cli.reference --check docs/cli.md

# In a venv of its own, so that its tools are no part of what it looks at.
audit: $(VENV)/.installed $(AUDIT)/.installed
	$(AUDIT)/bin/python .ci/audit.py $(BIN)/python

$(AUDIT)/.installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit==2.10.1' 'pip-licenses==5.5.5'
	touch $@

docs: $(VENV)/.installed-test
	$(BIN)/python -m vaeneer.cli.reference --write docs/cli.md

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(AUDIT) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
