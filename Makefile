# The targets make what they need, and do not redo what is done.
SHELL := /bin/bash
MODEL ?=
PORT ?= 8000
ARGS ?=
SCREENSHOTS ?=
CHROMIUM ?=
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := $(wildcard requirements/*.txt) scripts/install.sh
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

TRITON_OF_CUDA := $(shell sed -n 's/^triton==//p' requirements/gpu.txt)

.PHONY: help serve test lint check gpu-check triton-check lock-check page-check ray-check parallel-check alerts-check clients-check coverage image-test clean
help:
	@echo "make serve [MODEL=...] [PORT=...] [ARGS=...]  the server; without a MODEL, the bundled demo"
	@echo "make test        every test, the ones that start the engine too"
	@echo "make lint        format, lint and types"
	@echo "make check       the same, and the fast tests"
	@echo "make gpu-check   checks and measures this machine's GPU; ARGS=--dry-run without one"
	@echo "make triton-check  tests of the kernels with the Triton of torch for CUDA; needs no GPU"
	@echo "make page-check  the playground in Chromium, which apt installs where it is missing"
	@echo "make ray-check   installs the extra ray, and runs the tests that start a Ray cluster"
	@echo "make parallel-check  two ranks, LoRA and int8 beside one process, on this CPU: a quarter of an hour"
	@echo "make alerts-check  the alert rules by Prometheus' promtool, which apt installs where it is missing"
	@echo "make lock-check  whether requirements/gpu.txt is whole, by the packages' metadata"
	@echo "make clients-check  other people's clients against the server; installs them in build/clients"
	@echo "make coverage    the fast tests, and which lines they run; slower"
	@echo "make image-test  builds the CPU image and asks it a question"
	@echo "make clean       removes the environment and caches"

serve: $(READY)
	$(BIN)/llava-interleave serve $(MODEL) --port $(PORT) $(ARGS)

test: $(DEV)
	$(BIN)/python -m pytest

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -m "not engine"

gpu-check: $(DEV)
	$(BIN)/python -m llava_interleave_serve.benchmarks.gpu_check.cli $(ARGS)

triton-check: $(DEV)
	$(BIN)/python -m pip --disable-pip-version-check install --no-deps --quiet --upgrade \
	    --target $(VENV)/triton-of-cuda triton==$(TRITON_OF_CUDA)
	PYTHONPATH=$(abspath $(VENV))/triton-of-cuda $(BIN)/python -m pytest tests/kernels

# SCREENSHOTS=docs renews the pictures of the documentation.
page-check: $(DEV)
	$(BIN)/python -m pip --disable-pip-version-check install --no-deps -r requirements/page.txt
	test -n "$(CHROMIUM)" || command -v chromium chromium-browser google-chrome >/dev/null || \
		{ apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-liberation; }
	SCREENSHOTS=$(SCREENSHOTS) CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest -m browser tests/playground tests/demo

ray-check: $(DEV)
	$(BIN)/python -m pip --disable-pip-version-check install --no-deps -r requirements/ray.txt
	$(BIN)/python -m pytest tests/server/ray_serve

parallel-check: $(DEV)
	$(BIN)/python -m pytest -m parallel tests/benchmarks/server/test_parallel_equivalence.py

alerts-check: $(DEV)
	command -v promtool >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends prometheus; }
	$(BIN)/python -m pytest tests/deploy/test_alerts.py

lock-check: $(READY)
	test -x $(VENV)/uv/bin/uv || ($(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/python -m pip --quiet install uv)
	PATH=$(abspath $(VENV))/uv/bin:$$PATH scripts/check_gpu_lock.sh

clients-check: $(DEV)
	$(BIN)/python -m pytest -m "clients or engine" tests/clients; end=$$?; \
	$(BIN)/python -m tests.support.clients.table && exit $$end

coverage: $(DEV)
	$(BIN)/coverage run -m pytest -m "not engine"
	$(BIN)/coverage report

image-test:
	scripts/image_test.sh

$(READY): $(LOCK) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	scripts/install.sh $(BIN)/python
	$(BIN)/python -m pip --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	touch $@

$(DEV): $(READY) requirements/dev.txt
	$(BIN)/python -m pip --disable-pip-version-check install --no-deps -r requirements/dev.txt
	touch $@

clean:
	rm -rf $(VENV) build/clients .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
