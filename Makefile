# Everything runs in a virtual environment of its own; Python 3.11 or later and make are all that is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

upper = $(shell echo $(1) | tr a-z A-Z)
option = $(if $($(upper)),--$(1) $($(upper)))

.DEFAULT_GOAL := help
.PHONY: help demo test soak unit check model model-ablations format bench bench-scaling chaos chaos-mutations clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.venv: .venv/installed
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or later is needed: make PYTHON=...'; exit 1; }
	@echo 'installing into .venv'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/installed ## the example service on real Kafka, Redis and schema registry; KEEP=1 leaves it running
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep)

test: .venv/installed ## the tests, three files at a time, each with services of its own
	$(BIN)/pytest -n 3 --dist loadfile -m 'not soak'

soak: .venv/installed ## long tests: more ways to die and to stop, again and again
	$(BIN)/pytest -m soak

unit: .venv/installed ## the tests that need no service
	$(BIN)/pytest -n 2 tests/unit examples

check: .venv/installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

model: .venv/installed ## the delivery protocol's TLA+ model, checked by TLC: docs/protocol
	@$(BIN)/python -m tests.model

model-ablations: .venv/installed ## what goes wrong without each of its rules
	@$(BIN)/python -m tests.model --ablations

bench: .venv-bench/installed ## events per second beside what else one could use, and targets; an hour, or QUICK=1
	@.venv-bench/bin/python -m benchmarks $(if $(QUICK),--quick)

bench-scaling: .venv-bench/installed ## the same with more partitions, backlog, names, bytes, processes
	@.venv-bench/bin/python -m benchmarks.scaling

.venv-bench/installed: pyproject.toml
	@echo 'installing into .venv-bench'
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

chaos: .venv/installed ## 100,000 events while every process and service is killed, frozen, emptied; SEED, EVENTS, FAULTS, DELIVERY, ORDERING
	@$(BIN)/python -m tests.chaos $(foreach name,seed events faults delivery ordering,$(call option,$(name)))

chaos-mutations: .venv/installed ## shows that the chaos suite fails where a protection is missing
	@$(BIN)/python -m tests.chaos.mutations

format: .venv/installed ## make the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was built, installed and started here
	@if [ -x $(BIN)/python ] && [ -d .kaufmann ]; then $(BIN)/python -m examples.demo --stop; fi
	rm -rf .venv .venv-bench .kaufmann .hypothesis .mypy_cache .ruff_cache dist build
