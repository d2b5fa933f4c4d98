# One environment for everything. A stamp records that it is up to date, so that a second call is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
PLUGINS := $(wildcard plugins/*/pyproject.toml)

.PHONY: help setup demo test format clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(STAMP)  ## Create .venv with sslkit, its plugins and the tools for development

$(STAMP): pyproject.toml $(PLUGINS)
	@command -v $(PYTHON) >/dev/null || { \
		echo "sslkit needs Python 3.11 or newer, and there is no '$(PYTHON)'; try make setup PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sslkit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1); try make setup PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		-e ".[dev]" $(patsubst %/pyproject.toml,-e ./%,$(PLUGINS))
	@touch $(STAMP)

demo: setup  ## Pretrain, evaluate and search on generated pictures
	$(BIN)/sslkit demo

test: setup  ## Check format, lint and types, then run every test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile

format: setup  ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment, caches and build results
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache sslkit-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
