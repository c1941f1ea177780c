# Two commands do everything on a fresh machine (Python 3.11+, make, git, pip):
#   make baseline      train the network on CIFAR-10 and compare it with the 0.86 target
#   make test          the tests
# Options are make variables: make baseline SEEDS=3 RECIPE=published BUDGET=quick DATA=cifar10 WORKERS=2 ENGINE=jax

PYTHON ?= python3
RECIPE ?= fast
BUDGET ?= full
UV := $(shell command -v uv 2>/dev/null)
READY := .venv/.ready
engine = $(if $(ENGINE),--engine $(ENGINE))
which = --recipe $(RECIPE) --budget $(BUDGET) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(DATA),--data $(DATA)) $(engine)
options = $(which) $(if $(FRESH),--fresh) $(if $(WORKERS),--workers $(WORKERS)) $(if $(SLURM),--slurm $(SLURM)) \
          $(if $(OFFLINE),--offline $(OFFLINE))
searched = --trials $(or $(TRIALS),50) --recipe $(RECIPE) --budget $(BUDGET) $(if $(DATA),--data $(DATA)) $(engine) \
           $(if $(WORKERS),--workers $(WORKERS)) $(if $(SLURM),--slurm $(SLURM))
ablations = ablate_bn ablate_activation ablate_scaling ablate_dropout ablate_order factorial

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install baseline ablate ablate-bn ablate-activation ablate-scaling ablate-dropout ablate-order factorial \
        search confirm compare sync data show ui dashboard bench test test-slow lint format lock clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## the environment in .venv, from requirements.lock (uv where there is one, else pip)

baseline: $(READY)  ## train the 18-layer network and compare it with 0.86 (SEEDS=1 RECIPE=fast BUDGET=full)
	@.venv/bin/harness run baseline $(options)

ablate-bn: $(READY)  ## does batch normalization help, and because of covariate shift? (SEEDS=10 BUDGET=full WORKERS=)
	@.venv/bin/harness run ablate_bn $(options)

ablate-activation: $(READY)  ## is a non-linear activation needed, and ReLU better than sigmoid?
	@.venv/bin/harness run ablate_activation $(options)

ablate-scaling: $(READY)  ## must inputs be scaled?
	@.venv/bin/harness run ablate_scaling $(options)

ablate-dropout: $(READY)  ## how much dropout, where, and from the start?
	@.venv/bin/harness run ablate_dropout $(options)

ablate-order: $(READY)  ## batch norm before or after the activation?
	@.venv/bin/harness run ablate_order $(options)

factorial: $(READY)  ## scaling x normalization x activation: main effects and interactions
	@.venv/bin/harness run factorial $(options)

ablate: $(READY)  ## all of these; quick on two cores is BUDGET=quick
	@.venv/bin/harness run $(ablations) $(options)

search: BUDGET = quick
search: $(READY)  ## search for a better recipe with Optuna (TRIALS=50 BUDGET=quick WORKERS=1)
	@.venv/bin/harness search $(searched)

confirm: BUDGET = quick
confirm: $(READY)  ## run the best three of that search and the baseline on fresh seeds (SEEDS=10 SAVE=name)
	@.venv/bin/harness search $(searched) --confirm $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SAVE),--save $(SAVE))

compare: $(READY)  ## the tables and figures of all experiments again, from what is stored
	@.venv/bin/harness compare baseline $(ablations) $(which)

data: $(READY)  ## which CIFAR-10 is here, and what is in it
	@.venv/bin/harness data $(if $(DATA),--data $(DATA))

show: $(READY)  ## the network: layers, parameters, operations, drawing
	@.venv/bin/harness show

sync: $(READY)  ## import the bundles that a run with OFFLINE=DIR wrote, here or elsewhere (DIR=bundles)
	@.venv/bin/harness sync $(or $(DIR),bundles)

ui: $(READY)  ## the MLflow UI on http://127.0.0.1:5000 (PORT=5000)
	@.venv/bin/harness ui $(if $(PORT),--port $(PORT))

dashboard: $(READY)  ## the Optuna dashboard on http://127.0.0.1:8080 (PORT=8080)
	@.venv/bin/harness dashboard $(if $(PORT),--port $(PORT))

bench: $(READY)  ## images per second against plain Keras and PyTorch; run nothing else
	@.venv/bin/harness bench

test: $(READY) lint  ## lint, types and tests
	.venv/bin/python -m pytest

test-slow: $(READY)  ## what takes longer: every experiment, 25 kills, 200 trials, a browser, Slurm
	.venv/bin/python -m pytest -m slow

lint: $(READY)  ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: $(READY)  ## let ruff write the format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock:  ## choose exact versions anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --output-file requirements.lock

clean:  ## remove the environment; runs and data stay
	rm -rf .venv

ifdef UV
$(READY): pyproject.toml requirements.lock
	$(UV) venv --quiet --allow-existing --seed --python $(PYTHON) .venv
	$(UV) pip install --quiet --python .venv --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python .venv --no-deps --editable .
	@touch $@
else
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
endif
