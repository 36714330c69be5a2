# make world      install, generate a clip from a prompt, say where it lies
# make test       every test, notebooks included
# make lab        open JupyterLab on the notebooks
# make notebooks  run the notebooks again and keep their outputs

PYTHON ?= python3
PROMPT ?= a robot arm pushes a yellow box
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

# Two processes of two threads each on two cores run five times slower than one of each: one thread a process.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: world test lab notebooks lint clean

world: $(VENV)/.runtime
	@$(BIN)/python -m cosmos_lab text2world --prompt "$(PROMPT)" --save_path output/world.mp4 --contact_sheet

test: $(VENV)/.development
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --nbval-lax tests $(wildcard notebooks)

lab: $(VENV)/.development
	$(BIN)/jupyter lab $(wildcard notebooks)

notebooks: $(VENV)/.development
	$(TEST_ENV) $(BIN)/python -m cosmos_lab.notebook.execute notebooks

lint: $(VENV)/.development
	$(BIN)/ruff check cosmos_lab tests

clean:
	rm -rf build dist output .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "cosmos_lab needs Python 3.11 or newer as '$(PYTHON)'; name another with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.development: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,parity,dev]"
	@touch $@ $(VENV)/.runtime
