# Every target first brings .venv up to date; that takes no time when it is.
# ARGS passes arguments on: make test ARGS="tests/tasks -k depth"

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$name && break; done)
ifeq ($(OS),Windows_NT)
VENV_PYTHON := .venv/Scripts/python
else
VENV_PYTHON := .venv/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help venv train test rooms docs lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

venv: ## bring .venv up to date, which every target does by itself
	@test -n "$(PYTHON)" || { echo "rock_d2: no Python >= 3.10 found: install one, or name it: make PYTHON=/path/to/python3.12 test" >&2; exit 1; }
	@"$(PYTHON)" third_party/bootstrap.py

OUTPUT := output/rock_rooms
# A training step frees and takes the same hundreds of megabytes: glibc keeps pieces of up to 32 MiB,
# and up to 256 MiB at the end of the heap. Idle threads sleep, as others may need the cores.
TRAIN_ENV := MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456 OMP_WAIT_POLICY=passive

train: venv ## render rooms if they are not there, train ROCK on them, evaluate it and draw its predictions
	@test -f "$${DETECTRON2_DATASETS:-datasets}/rooms/annotations/rooms_val.json" || $(VENV_PYTHON) datasets/make_rooms.py
	$(TRAIN_ENV) $(VENV_PYTHON) tools/train_net.py --overwrite --config-file configs/rock/rock_rooms.yaml $(ARGS) TEST.EVAL_PERIOD 80 OUTPUT_DIR $(OUTPUT)
	$(VENV_PYTHON) tools/visualize_predictions.py --config-file $(OUTPUT)/config.yaml --weights $(OUTPUT)/model_final.pth --output-dir $(OUTPUT)/pictures --num-images 8

# One thread a process: the processes are what keeps the cores busy.
test: venv ## run the tests
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n auto --maxprocesses=4 --dist=worksteal $(ARGS)

rooms: venv ## render the embedded data into $DETECTRON2_DATASETS (default: datasets)
	$(VENV_PYTHON) datasets/make_rooms.py $(ARGS)

docs: venv ## build the documentation's site in site/, with mkdocs
	@$(VENV_PYTHON) -c 'import mkdocs' 2>/dev/null || $(VENV_PYTHON) -m pip install -q -e '.[docs]'
	$(VENV_PYTHON) docs/generate.py --site build/docs
	$(VENV_PYTHON) -m mkdocs build --quiet --strict

lint: venv ## check style and find likely bugs
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: venv ## bring the code into the project's format
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

clean: ## remove .venv and all caches, but no data and no results
	rm -rf .venv .venv.lock build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
