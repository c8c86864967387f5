# Everything is set up in .venv by the first target that needs it; nothing has to be installed by hand.

PYTHON ?= python3
BIN := .venv/bin
NIGHT ?= build/night

.PHONY: help setup run test lint unit simulate bench mutants soak bench-protection cluster-test bench-subtract bench-subtract-gpu bench-measure clean

help:             ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 24

setup: .venv/.ready  ## put everything into .venv

.venv/.ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ast3 needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -y -q python3-venv; } || \
	  { echo "this Python cannot make a venv: install python3-venv" >&2; exit 1; }
	@echo "setting up .venv (a minute, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[demo,test]'
	@touch $@

run: setup        ## a simulated night through the whole suite; pictures at the end
	$(BIN)/ast3-skysim demo $(NIGHT)

test: setup lint  ## everything that needs no GPU
	@tests/install-tools
	$(BIN)/pytest

unit: setup       ## the tests that need neither a running daemon nor real frames: the quick ones
	$(BIN)/pytest --ignore tests/system --ignore tests/science

simulate: setup   ## all that ast3d promises about remembering, long: histories, damaged logs, power cuts, times, mutants
	@tests/install-tools
	$(BIN)/python -m bench.recovery

bench: setup      ## the times, rates and sizes among them
	@tests/install-tools
	$(BIN)/python -m bench.recovery --only timed

mutants: setup    ## bugs made on purpose, each of which a test must notice
	tests/mutants/run

soak: setup       ## does anything stay down, long: kills, hangs, starved disks and CPUs, crashes at the start, cron
	@tests/install-tools
	$(BIN)/python -m bench.protection

bench-protection: setup  ## the same with small n
	@tests/install-tools
	$(BIN)/python -m bench.protection --short

cluster-test: setup  ## failover, long: real clusters whose nodes lose their power, their network, their disk, their etcd; an hour or two
	@tests/install-tools
	$(BIN)/python -m tests.cluster

bench-subtract: setup  ## how fast and how clean the subtraction is, beside HOTPANTS and an oracle; an hour
	$(BIN)/python -m bench.subtract

bench-subtract-gpu: setup  ## what the GPU path takes, where there is a GPU and `.venv/bin/pip install pycuda` was done
	$(BIN)/python -m bench.subtract_gpu

bench-measure: setup  ## from raw counts to magnitudes: speed, memory, noise, photometry, astrometry, bad input; half an hour
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.measure --picture build/calibration.png

lint: setup       ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:            ## remove what was built, .venv too
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
