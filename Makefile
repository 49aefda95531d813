# Every target sets up .venv by itself. ARGS goes to the command: make run ARGS="--data.source ../my-images"

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
OPTIONAL = attacks s3 gcs azure ssh cluster neighbors
PYTEST = python -m pytest -n auto

# requirements.txt is what a run needs, requirements-dev.txt adds what tests and lint need. Once a target has asked for
# the second, .venv keeps to it.
LOCK = requirements$(if $(wildcard .venv/ready-dev),-dev).txt
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate pyproject.toml

# Compiled once at installation, imports are two to three times faster.
export UV_COMPILE_BYTECODE = 1
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help run predict compare data choose $(OPTIONAL) test unit bench soak simulate release rollback approve trust prune up serve env down backbone doctor clean lint lock graph

help:           ## this list
	@grep -hE '^[a-z0-9 ]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18

run: .venv/ready       ## retrain: from images to a registered model
	@python -m flows retrain $(ARGS)

predict: .venv/ready   ## answers: make predict ARGS="picture.jpg"; or a folder, or a .csv with a column path
	@python -m flows predict $(ARGS)

compare: .venv/ready   ## models on data sets by seeds, as params.yaml lists them; resumes where it stopped
	@python -m flows compare $(ARGS)

data: .venv/ready      ## bring in images and weights only, for dvc repro
	@python -m flows data $(ARGS)

choose: .venv/ready    ## compare the backbones for the images again, and pin the choice
	@python -m flows choose $(ARGS)

attacks: .venv/ready   ## add the Adversarial Robustness Toolbox, which evaluate.attacked needs
s3 gcs azure ssh: .venv/ready ## add what reads images from such an address, and DVC's remote there: make s3
cluster: .venv/ready   ## add Dask's client and worker, for ROOTSTOCK_SCHEDULER
neighbors: .venv/ready ## add the index of nearest neighbors, which unlabelled.search: index needs

$(OPTIONAL):
	@uv pip install --python $(BIN)/python --constraint requirements-optional.txt --requirement pyproject.toml --extra $@
	@touch .venv/$@

test: .venv/ready-dev  ## the tests that a fresh machine can run; ARGS for pytest
	@$(PYTEST) -m "not gpu and not slow" $(ARGS)

unit: .venv/ready-dev  ## tests without servers, browsers and whole runs; ARGS for pytest
	@$(PYTEST) -m "not gpu and not slow and not e2e" $(ARGS)

bench: .venv/ready-dev ## the README's figures; resumes where it stopped
	@python -m tests.benchmarks $(ARGS)

simulate: .venv/ready-dev ## histories of releases with crashes, outages and attacks, in memory: ARGS="--histories 1000000"
	@python -m tests.simulation $(ARGS)

soak: .venv/ready-dev  ## kills, full disks and damaged files in a tiny project, for hours; resumes where it stopped
	@python -m tests.soak $(ARGS)

release: .venv/ready   ## answer promotions in MLflow now (make up does it within seconds)
	@python -m flows release

rollback: .venv/ready  ## the model that was live before is live again
	@python -m flows rollback

up: .venv/ready        ## Prefect's and MLflow's pages, on loopback; a worker that retrains nightly, a watcher that releases
	@python -m flows up

serve: .venv/ready     ## answer HTTP requests with the live version, and follow it: make serve ARGS="--workers 2"
	@exec python -m flows serve $(ARGS)

env: .venv/ready       ## what your own prefect and mlflow commands need while they run: eval "$(make -s env)"
	@python -m flows env

down: .venv/ready      ## stop them, after a running flow has ended; ARGS=--now does not wait
	@python -m flows down $(ARGS)

backbone: .venv/ready  ## make the embedded backbone again
	@python -m flows backbone $(ARGS)

doctor: .venv/ready    ## what this machine has, and what to do about what it lacks
	@python -m flows doctor

approve: .venv/ready   ## let a version go live whatever its verdict is: make approve ARGS='--version 17 --why "..."'
	@python -m flows approve $(ARGS)

trust: .venv/ready     ## look at a version's code, or allow it: make trust ARGS='17 --why "reviewed"'
	@python -m flows trust $(ARGS)

prune: .venv/ready     ## show what retention in params.yaml does not keep; ARGS=--yes removes it
	@python -m flows prune $(ARGS)

clean: .venv/ready     ## remove what Rootstock keeps in .state (locks, checkpoints, features, logs); .registry is kept
	@python -m flows down
	@python -m flows clean

lint: .venv/ready-dev  ## ruff and mypy
	@ruff check . && ruff format --check . && mypy

graph: .venv/ready-dev ## write the code that each stage imports into dvc.yaml, and the scorer's digest into flows/registry/scorers.txt
	@python -m tests.test_graph

lock: .venv/ready-dev  ## the locks from pyproject.toml; what is pinned stays where it fits
	@$(COMPILE) --output-file requirements.txt
	@$(COMPILE) --extra attacks --extra s3 --extra cluster --extra neighbors --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --all-extras --constraint requirements-dev.txt --output-file requirements-optional.txt

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$($(PYTHON) --version 2>&1) is too old: Rootstock needs Python 3.11 or newer; make PYTHON=python3.12 ..."; exit 2; }
	@echo "setting up .venv ($$(grep -c == $(LOCK)) packages; some gigabytes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep ^uv== requirements.txt)
	@$(BIN)/uv pip sync --python $(BIN)/python $(LOCK)
	@touch $@
	@for group in $(OPTIONAL); do [ ! -e .venv/$$group ] || $(MAKE) --no-print-directory $$group; done

.venv/ready-dev: requirements-dev.txt .venv/ready
	@$(BIN)/uv pip sync --python $(BIN)/python requirements-dev.txt
	@touch $@
