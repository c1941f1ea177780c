# Two commands do everything on a fresh machine (Python 3.11+, make, git, pip):
#   make baseline      train the network on CIFAR-10 and compare it with the 0.86 target
#   make test          the tests
# Options are variables on make's command line: make baseline SEEDS=3 RECIPE=published BUDGET=quick ENGINE=jax

OPTIONS := BUDGET DATA DIR ENGINE FRESH GPU MINUTES OFFLINE PORT PYTHON RECIPE SAVE SEEDS SLURM TRIALS WORKERS
# Names as common as these are exported for other programs too: what the environment says of them does not count.
$(foreach name,$(OPTIONS),$(if $(filter environment,$(origin $(name))),$(eval $(name) :=)))
unexport $(OPTIONS)

PYTHON := $(or $(PYTHON),python3)
UV := $(shell command -v uv 2>/dev/null)
# A machine with an NVIDIA driver gets JAX with CUDA too, 2.5 GB more to download; GPU=0 says no.
GPU_HERE := $(if $(filter 0,$(GPU)),,$(shell nvidia-smi -L 2>/dev/null | head -n 1))
LOCK := $(if $(GPU_HERE),requirements-gpu.lock,requirements.lock)
READY := .venv/.ready$(if $(GPU_HERE),-gpu)
engine = $(if $(ENGINE),--engine $(ENGINE))
what = --recipe $(or $(RECIPE),fast) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(DATA),--data $(DATA)) $(engine)
which = $(what) --budget $(or $(BUDGET),full)
how = $(if $(FRESH),--fresh) $(if $(WORKERS),--workers $(WORKERS)) $(if $(SLURM),--slurm $(SLURM)) \
          $(if $(OFFLINE),--offline $(OFFLINE))
options = $(which) $(how)
searched = $(if $(TRIALS),--trials $(TRIALS)) --recipe $(or $(RECIPE),fast) --budget $(or $(BUDGET),quick) \
           $(if $(DATA),--data $(DATA)) $(engine) $(if $(WORKERS),--workers $(WORKERS)) $(if $(SLURM),--slurm $(SLURM))
ablations = ablate_bn ablate_activation ablate_linear ablate_scaling ablate_dropout ablate_order factorial

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install baseline ablate ablate-bn ablate-activation ablate-linear ablate-scaling ablate-dropout \
        ablate-order factorial ladder size-curve evidence verify search confirm compare report sync data show ui \
        dashboard bench test test-slow soak lint format lock clean

help:  ## this list
	@awk -F':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '%s\n' '' 'Options, after the target, as in make baseline SEEDS=10 BUDGET=quick:' \
	  '  SEEDS=10            how many seeds, or which: SEEDS=0,4,7' \
	  '  BUDGET=full         or quick (minutes), smoke (seconds); of a search: quick' \
	  '  RECIPE=fast         or classic, published, one that a search has saved' \
	  '  WORKERS=2           processes that train; SLURM=time=240 for Slurm jobs' \
	  '  ENGINE=auto         jax where it sees a GPU, else tensorflow; or one of these' \
	  '  GPU=0               do not install what an NVIDIA GPU needs' \
	  '  DATA=cifar10        insist on CIFAR-10; digits: those of scikit-learn' \
	  '  FRESH=1             forget what was done, and start over' \
	  '  OFFLINE=DIR         without MLflow: write bundles to DIR'

##@ Start here
install: $(READY)  ## the environment in .venv, from requirements.lock

baseline: $(READY)  ## train the 18-layer network, compare it with 0.86
	@.venv/bin/harness run baseline $(options)

##@ Switch one thing off
ablate-bn: $(READY)  ## does batch normalization help, and why?
	@.venv/bin/harness run ablate_bn $(options)

ablate-activation: $(READY)  ## is one needed, and is ReLU better than sigmoid?
	@.venv/bin/harness run ablate_activation $(options)

ablate-linear: $(READY)  ## what is left when nothing in it is non-linear?
	@.venv/bin/harness run ablate_linear $(options)

ablate-scaling: $(READY)  ## must inputs be scaled?
	@.venv/bin/harness run ablate_scaling $(options)

ablate-dropout: $(READY)  ## how much dropout, where, and from the start?
	@.venv/bin/harness run ablate_dropout $(options)

ablate-order: $(READY)  ## batch norm before or after the activation?
	@.venv/bin/harness run ablate_order $(options)

factorial: $(READY)  ## scaling x normalization x activation
	@.venv/bin/harness run factorial $(options)

ladder: $(READY)  ## which changes make 200 epochs into 8?
	@.venv/bin/harness run ladder $(options)

size-curve: $(READY)  ## does the answer depend on the number of images?
	@set -e; for budget in quick:500 quick:1000 quick:2000 quick:5000 quick:10000 "full --set epochs=1"; do \
	  .venv/bin/harness run size_curve $(what) $(how) --no-retune --budget $$budget; done

ablate: $(READY)  ## factorial and every ablate-...
	@.venv/bin/harness run $(ablations) $(options)

##@ What README and docs quote
evidence: $(READY)  ## train what is missing of it, at low priority (days)
	@.venv/bin/harness evidence run $(if $(OFFLINE),--to $(OFFLINE))

verify: $(READY)  ## make every number again from the evidence, and compare
	@.venv/bin/harness evidence verify

##@ Search for a better recipe
search: $(READY)  ## search with Optuna (TRIALS=50)
	@.venv/bin/harness search $(searched)

confirm: $(READY)  ## the best three on fresh seeds (SAVE=name to keep one)
	@.venv/bin/harness search $(searched) --confirm $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SAVE),--save $(SAVE))

##@ Look at things
compare: $(READY)  ## tables and figures again, from what is stored
	@.venv/bin/harness compare baseline $(ablations) $(which)

report: $(READY)  ## one page of all answers, to send around
	@.venv/bin/harness report $(which)

data: $(READY)  ## which CIFAR-10 is here, and what is in it
	@.venv/bin/harness data $(if $(DATA),--data $(DATA))

show: $(READY)  ## the network: layers, parameters, operations
	@.venv/bin/harness show

sync: $(READY)  ## import the bundles of another machine (DIR=bundles)
	@.venv/bin/harness sync $(or $(DIR),bundles)

ui: $(READY)  ## MLflow's, on http://127.0.0.1:5000 (PORT=)
	@.venv/bin/harness ui $(if $(PORT),--port $(PORT))

dashboard: $(READY)  ## Optuna's, on http://127.0.0.1:8080 (PORT=)
	@.venv/bin/harness dashboard $(if $(PORT),--port $(PORT))

bench: $(READY)  ## images per second against Keras and PyTorch
	@.venv/bin/harness bench

##@ Work on the harness
test: $(READY) lint  ## lint, types and tests
	.venv/bin/python -m pytest

test-slow: $(READY)  ## what takes longer, and properties on new examples
	.venv/bin/python -m pytest -m 'slow or hypothesis' --hypothesis-profile new-examples

soak: $(READY)  ## faults at random against real commands, for MINUTES=60
	@MINUTES=$(MINUTES) .venv/bin/python tests/soak.py

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
	uv pip compile pyproject.toml --extra dev --extra jax-gpu --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --constraints requirements.lock --output-file requirements-gpu.lock

clean:  ## remove the environment; runs and data stay
	rm -rf .venv

ifdef UV
$(READY): pyproject.toml $(LOCK)
	$(if $(GPU_HERE),@echo "$(GPU_HERE): JAX with CUDA is installed too (2.5 GB; GPU=0 leaves it out)")
	$(UV) venv --quiet --allow-existing --seed --python $(PYTHON) .venv
	$(UV) pip install --quiet --python .venv --require-hashes -r $(LOCK)
	$(UV) pip install --quiet --python .venv --no-deps --editable .
	@touch $@
else
$(READY): pyproject.toml $(LOCK)
	$(if $(GPU_HERE),@echo "$(GPU_HERE): JAX with CUDA is installed too (2.5 GB; GPU=0 leaves it out)")
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
endif
