# Everything a clean clone needs: Python 3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test test-all lint bench clean

demo: .venv/installed
	$(BIN)/statllm demo

test: .venv/installed lint
	$(BIN)/python -m pytest -q

test-all: .venv/installed lint
	$(BIN)/python -m pytest -q -m 'slow or not slow'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[train,report,math,ray,dev]'
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
