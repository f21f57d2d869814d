# Two commands for a newcomer: `make sweep` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two markers, because a sweep needs none of what the tests do: ruff, pytest, notebooks and the like.
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
# The next Hydra and its launchers, put before those of the environment: the tests of what rests on Hydra run on both.
HYDRA14 := .venv-hydra14
HYDRA14_PACKAGES := hydra-core==1.4.0rc3 omegaconf==2.4.1rc1 hydra-joblib-launcher==1.4.0rc3 \
	hydra-submitit-launcher==1.4.0rc3 hydra-ray-launcher==1.4.0rc3 \
	hydra-optuna-sweeper==1.4.0rc3 optuna==5.0.0 alembic==1.20.1 mako==1.4.3 sqlalchemy==2.1.9 colorlog==6.12.0
# Without the tests of signals, of damaged folders and of what files say, which do not touch Hydra, and without those that
# compose every option in turn, which say nothing of its version.
HYDRA14_TESTS := $(addprefix tests/cli/test_,composing.py sweeper.py yaml_files.py untrusted.py launchers.py optimising.py) \
	-k 'not (workers or ray_local or killed or interrupt or goes_on or one_thread or memory or plan_that or folder_builds \
	or trillion or 64_bits or no_others or says or makes_no_sense or every_option)'
# What `make bench-peers` compares with. They take long to make, so `make clean` leaves them.
AIHWKIT := .venv-aihwkit
LIGHTNING := .venv-lightning

# Modules are compiled as they are first imported and kept, which takes less than compiling all that is installed at once.
test pytest test-hydra14 lint docs: export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep test pytest test-hydra14 lint docs format bench bench-budget bench-calibration bench-intervals bench-peers clean

sweep: $(INSTALLED)
	$(BIN)/rramsweep -m experiment=quickstart

test:
	$(MAKE) -j2 $(TESTABLE) $(HYDRA14)/.installed
	$(MAKE) -j3 pytest lint docs test-hydra14

# A worker a core, of one thread, because more wait for each other. Each begins with a run of files, whose fixtures it makes
# once, and takes from another when it is done. Tests that wait for processes come first (tests/conftest.py).
pytest: $(TESTABLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(getconf _NPROCESSORS_ONLN) --dist worksteal

# One process: in `make test` it runs while workers of `pytest` wait.
test-hydra14: $(TESTABLE) $(HYDRA14)/.installed
	PYTHONPATH=$(CURDIR)/$(HYDRA14) $(BIN)/python -c 'import hydra; assert hydra.__version__.startswith("1.4."), hydra'
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(HYDRA14) $(BIN)/python -m pytest -p no:xdist -p no:cacheprovider -m 'not slow' $(HYDRA14_TESTS)

lint: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The API reference from docstrings; a warning of pdoc fails.
docs: $(TESTABLE)
	$(BIN)/python docs/build.py outputs/docs

format: $(TESTABLE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TESTABLE)
	$(BIN)/python -m pytest tests/benchmarks -s -p no:xdist

bench-budget: $(TESTABLE)
	$(BIN)/python tests/benchmarks/bench_budget.py $(ARGS)

bench-calibration: $(TESTABLE)
	$(BIN)/python tests/benchmarks/bench_calibration.py $(ARGS)

bench-intervals: $(TESTABLE)
	$(BIN)/python tests/benchmarks/bench_intervals.py $(ARGS)

# A peer that cannot be installed does not keep the others from running: the table names it.
bench-peers: $(TESTABLE)
	-$(MAKE) $(AIHWKIT)/.installed
	-$(MAKE) $(LIGHTNING)/.installed
	$(BIN)/python tests/benchmarks/peers/bench_peers.py $(ARGS)

clean:
	rm -rf $(VENV) $(HYDRA14) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# pip is the last that venv makes: where that failed, it is made again.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(TESTABLE): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --no-compile -e '.[dev,all]'
	touch $(INSTALLED) $@

$(HYDRA14)/.installed: Makefile | $(BIN)/pip
	rm -rf $(HYDRA14)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --target $(HYDRA14) $(HYDRA14_PACKAGES)
	touch $@

# Without a wheel for this Python it is compiled, about 20 minutes: that takes a C++ compiler and OpenBLAS with its headers
# (Debian: libopenblas-dev). It is built against the torch in its environment, hence no isolation; lightning fixes which.
$(AIHWKIT)/.installed:
	$(PYTHON) -m venv $(AIHWKIT)
	$(AIHWKIT)/bin/python -m pip install --quiet torch==2.13.0 torchvision 'setuptools>=77' wheel \
		'scikit-build>=0.18.1' 'pybind11>=3.0.1' 'cmake>=4.2.1' ninja mypy
	PATH="$(CURDIR)/$(AIHWKIT)/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/$(AIHWKIT)" CMAKE_BUILD_PARALLEL_LEVEL=2 \
		$(AIHWKIT)/bin/python -m pip install --quiet --no-build-isolation aihwkit==1.2.0
	touch $@

$(LIGHTNING)/.installed:
	$(PYTHON) -m venv $(LIGHTNING)
	$(LIGHTNING)/bin/python -m pip install --quiet aihwkit-lightning==2.1.0 numpy
	touch $@
