# Everything a newcomer and a developer type. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help up down status backup restore demo test lint fmt lock frontend bench docs clean install-tests templates tools

# The system's own Python first: the servers' user can reach it wherever a home folder is closed.
PYTHON ?= $(shell for each in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do \
	"$$each" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo "$$each" && break; done || true)
NO_PYTHON = Python 3.11, 3.12 or 3.13 is needed and none is here. On Debian: apt-get install python3; \
	or name yours: make up PYTHON=/path/to/python3.12
LAUNCH = $(or $(PYTHON),$(error $(NO_PYTHON))) -m console.launch
BIN = .venv/bin
CODE = accounts clients console sandboxes timeline tests manage.py
export PORT HOST DATA DETACH BASE_URL SERVERS WORKERS TO FROM

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set up and run it until Ctrl-C (DETACH=1 PORT=9000 HOST=0.0.0.0 DATA=folder BASE_URL=https://…)
	@$(LAUNCH) up

down: ## stop what `make up` started
	@$(LAUNCH) down

status: ## tell what runs
	@$(LAUNCH) status

backup: ## write the database and the secrets into one file (TO=file.tar or a folder)
	@$(LAUNCH) backup

restore: ## put a backup into a clean database (FROM=file.tar DATA=folder)
	@$(LAUNCH) restore

demo: ## an agent-like session through the official client, to watch in the console
	@test -r $(or $(DATA),var)/dev.env || { echo "Start it first, in another terminal: make up"; exit 1; }
	@set -a && . $(or $(DATA),var)/dev.env && exec $(BIN)/python clients/python/demo.py $(ARGS)

install-tests: ## what lint and tests need: packages of the distribution, of Python and of Node
	@$(LAUNCH) install-tests

export ORKESTR_TEMPLATES_DIR ?= $(CURDIR)/var/templates

templates: install-tests ## build the sandboxes' templates that are not there yet
	$(BIN)/python -m sandboxes.host.images build --strict
tools: install-tests ## fetch the runtimes that the distribution has only in later releases
	$(BIN)/python -m sandboxes.host.tools fetch --strict

test: templates tools ## all tests, against real servers, sandboxes and a browser; ARGS="tests/accounts -k policy" chooses
	$(if $(ARGS),$(BIN)/pytest $(ARGS),$(MAKE) --no-print-directory --jobs 2 --keep-going test-first test-second)

# Most tests wait for something, so two runs share the machine, each with servers and sandboxes of its own.
FIRST = tests/sandboxes/api tests/sandboxes/host tests/timeline
test-first:
	$(BIN)/pytest -o cache_dir=.pytest_cache/first $(FIRST)
test-second:
	$(BIN)/pytest -o cache_dir=.pytest_cache/second tests $(FIRST:%=--ignore=%)

lint: install-tests ## every check that a change must pass
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/djlint templates --lint --check --quiet
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports

fmt: install-tests ## apply the formatters
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/djlint templates --reformat --quiet

lock: install-tests ## compile requirements/*.in to the lock files (hashes, no addresses)
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements/base.txt requirements/base.in
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements/dev.txt requirements/dev.in
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements/uv.txt requirements/uv.in
LOCK_OPTIONS = --quiet --python-version 3.11 --universal --generate-hashes \
	--no-emit-index-url --no-header

frontend: install-tests ## build static/vendor from frontend/ and what package.json pins
	npm run --silent build

bench: install-tests ## measure, and write docs/bench.md
	@$(BIN)/python -m tests.bench $(ARGS)

docs: install-tests ## check the documents against the code
	$(BIN)/pytest tests/docs $(ARGS)

clean: down ## stop, and remove what was installed and built here; the data folder stays
	rm -rf .venv node_modules staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
