# make demo: from nothing to two meta-trained learners.  make test: everything CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test coverage slow bench bench-quick docs check clean

help:
	@echo "make install   a virtual environment in $(VENV) with lightning-meta in it"
	@echo "make demo      write a data set, meta-train and meta-test ProtoNet and MAML (minutes)"
	@echo "make test      set up, check style, types and floors, run the tests"
	@echo "make coverage  the same tests, with the lines that none of them runs"
	@echo "make slow      the longer tests, those that start Ray clusters and a Slurm, the wheel check and a quick run of three benchmarks"
	@echo "make bench     the benchmarks in full (make bench-quick: all in their quick form)"
	@echo "make docs      build the documentation and serve it at http://127.0.0.1:8000"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lightning-meta needs Python 3.11 or later, but $(PYTHON) is `$(PYTHON) --version`: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/lightning-meta demo

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not slow and not gpu and not ray and not slurm" --durations=10

coverage: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not slow and not gpu and not ray and not slurm" --cov --cov-report=term-missing:skip-covered

slow: $(VENV)/.installed-dev  # without the type checker, which `make test` has and which takes a third of the time
	OMP_NUM_THREADS=1 $(BIN)/pytest -o addopts="-q --strict-markers" -m "slow and not ray and not slurm and not gpu" -n auto --dist worksteal --durations=10
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "ray or slurm" -n 2 --dist loadfile --durations=10
	$(BIN)/python tools/check_wheel.py
	$(BIN)/pip install --quiet --no-deps 'easyfsl==1.5.0'
	$(BIN)/python tools/bench_streams.py --quick
	$(BIN)/python tools/bench_learners.py --quick
	$(BIN)/python tools/bench_worlds.py --quick

bench-quick: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --no-deps 'easyfsl==1.5.0'
	for tool in bench_streams bench_learners bench_memory bench_search bench_worlds compare_strategies compare_memories; do \
	  $(BIN)/python tools/$$tool.py --quick || exit 1; done

bench: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --no-deps 'easyfsl==1.5.0'
	$(BIN)/python tools/bench_streams.py
	$(BIN)/python tools/bench_learners.py
	$(BIN)/python tools/bench_memory.py
	$(BIN)/python tools/bench_search.py
	$(BIN)/python tools/bench_worlds.py

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict
	$(BIN)/mkdocs serve

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage* dist site
