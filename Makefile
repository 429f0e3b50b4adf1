PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo-output
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# TensorFlow logs its start on every import, and each test run draws figures.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export MPLBACKEND ?= Agg

.PHONY: help demo test test-jax test-slow test-exhaustive lint docs

help:
	@echo "make demo       install, train both tasks on the shipped data, show scores"
	@echo "make test       the fast tests, on TensorFlow"
	@echo "make test-jax   the backend-neutral tests again, on JAX"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-exhaustive  grids, and the examples of every page: before a release"
	@echo "make lint       ruff and mypy"
	@echo "make docs       build the site into site/"
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) OUTPUT=$(OUTPUT) WORKERS=$(WORKERS)"

demo: $(VENV)/.installed
	$(BIN)/keras-seq demo --output $(OUTPUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS)

# Compiling takes most of its time, and many tests compile the same networks.
test-jax: export KERAS_BACKEND = jax
test-jax: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/.pytest_cache/jax
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1
# pytest ends with an error if it collects no test, so a lost marker cannot pass.
test-jax: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) -m "numeric and not slow and not exhaustive"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) -m "slow and not exhaustive"

test-exhaustive: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) -m exhaustive

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "keras_seq needs Python 3.11 to 3.13: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[docs]'
	@touch $@ $(VENV)/.installed
