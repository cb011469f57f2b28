# make run     environment in .venv, then the default run
# make test    environment, then the test suite
#              (two processes on two processors, four at most; ARGS="-n 0" for one)
# make bench   side-by-side benchmarks          make soak   kills and fuzzing, for longer
# make slurm   the workflow with every fault on a Slurm that runs here (tests/slurm), in minutes
# make lock    new versions into envs/          make schema regenerate what is generated from code
# make picture the README's picture, from the report of a default run (Chromium and its driver)
# ARGS="..." is handed on, e.g. make run ARGS="--configfile workflow/presets/gsm8k.yaml"

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
SHELL := /bin/bash

.PHONY: run test slurm bench soak env lock schema picture clean

run: env
	@$(BIN)/python -m saeflow unlock
	$(BIN)/python -m snakemake --cores all $(ARGS)
	@[ ! -f results/report/index.html ] || echo "Open $(CURDIR)/results/report/index.html in a browser."

test: env
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  --ignore tests/slurm $(ARGS)

# Not in `make test`: each of its jobs is three processes more, beside which nothing else should run.
slurm: env
	$(BIN)/python -m pytest tests/slurm -n 0 -q -rs $(ARGS)

bench: env
	@[ .venv/peers/installed -nt envs/bench.txt ] || { \
	  $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --upgrade \
	    --target .venv/peers --requirement envs/bench.txt && touch .venv/peers/installed; } \
	  || echo "peers of envs/bench.txt could not be installed; benchmarks skip them"
	PYTHONPATH=.venv/peers $(BIN)/python -m tests.benchmarks $(ARGS)

soak: env
	SAEFLOW_SOAK=1 $(BIN)/python -m pytest tests/workflow/test_kills.py tests/workflow/test_preset_runs.py \
	  tests/workflow/test_plan.py tests/workflow/test_shards.py tests/workflow/test_ablation_shards.py \
	  tests/unit -q -s --timeout 7200 $(ARGS)

env:
	@$(PYTHON) envs/install.py

lock:
	$(PYTHON) envs/lock.py torch==2.13.0

schema: env
	$(BIN)/python -m saeflow schema

picture: env
	$(BIN)/python -m tests.browser.picture $(ARGS)

clean:
	rm -rf results/* .snakemake
