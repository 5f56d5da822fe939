# The commands of this project; each runs in .venv, which `make install` makes and keeps up to date.
PYTHON ?= python3
# e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for PyTorch without CUDA
PIP_FLAGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help install chat test check format golden docs bench

help:      ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with all that is needed
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Consilium needs Python 3.11 or newer, got " + sys.version.split()[0] + ": make install PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

chat: install  ## open the window on http://127.0.0.1:7860
	$(BIN)/consilium chat

test: check  ## check, then all tests (no GPU, no network)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: install  ## lint, types, import arrows, generated docs
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python docs/make_tables.py --check

format: install  ## sort imports and apply ruff's safe fixes
	$(BIN)/ruff check --fix .

golden: install  ## renew tests/golden; say why in the commit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --golden

docs: install  ## write the generated tables and the output of the README's example
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_tables.py --run

bench: install  ## time the specialists against PyTorch eager; BENCH=--write writes results/specialists-speed.json
	$(BIN)/python -m benchmarks.specialists $(BENCH)
