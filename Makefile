# Two commands on a fresh machine with Python 3.11+, pip and make: `make book`, `make test`.
PYTHON  ?= python3
PROFILE ?= quick
DEVICE  ?= cpu
JOBS    ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
BIN     := .venv/bin
PEERS   := benchmarks/peers/requirements.txt

.DEFAULT_GOAL := help
.PHONY: help book test verify fresh bench check clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

book: .venv/installed  ## Execute every chapter and build _build/html (PROFILE=quick|paper DEVICE=cpu|cuda JOBS=n).
	$(BIN)/companion book --profile $(PROFILE) --device $(DEVICE) --jobs $(JOBS)

# In the order of the folders: when the book is built, its experiments have been run by their tests.
test: .venv/installed  ## Run the whole test suite.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

verify: .venv/installed  ## Compute a part of every record again, compare, and note what agrees.
	$(BIN)/companion verify --write

bench: .venv/installed .venv-peers/installed  ## Measure every promised ratio beside its peer, in minutes (DEVICE=cpu|cuda).
	$(BIN)/companion bench --device $(DEVICE)

# It keeps what it has after every experiment, and goes on from there when it is started again.
fresh: .venv/installed  ## Count in book/fresh.json how often verdicts stay on fresh seeds, in hours (JOBS=n).
	$(BIN)/companion fresh --jobs $(JOBS)

check: .venv/installed  ## Lint, types and the order of the layers, without the tests.
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:  ## Remove everything that was built; .venv and .venv-peers stay.
	rm -rf _build

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or later is needed; set PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

# The peers need old versions of what they stand on, and those know no Python later than 3.12.
.venv-peers/installed: $(PEERS)
	$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else 'The peers need Python 3.11 or 3.12; set PYTHON=...')"
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $(PEERS)
	@touch $@
