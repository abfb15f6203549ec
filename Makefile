# make env    the environment, in .venv/              make lint       ruff, mypy, import rules
# make demo   compress digits-cnn, run a fleet of it  make bench      the benchmarks of docs/benchmarks.md
# make test   lint, tests, coverage                   make test-full  the long tests too; records the result
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml device_agents/pyproject.toml constraints.txt scripts/make_env.sh | sha256sum | cut -c1-16)

.PHONY: env demo test test-full lint bench system system-full
env: $(STAMP)

$(STAMP):
	@PYTHON=$(PYTHON) VENV=$(VENV) STAMP=$(STAMP) sh scripts/make_env.sh

system:
	@sh scripts/system_packages.sh

system-full:
	@sh scripts/system_packages.sh full

demo: env
	@$(BIN)/edgeglm compress recipes/digits-cnn/recipe.yaml -o build/digits-cnn
	@$(BIN)/python scripts/demo.py

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.10 device_agents/edgeglm_agent
	@$(BIN)/lint-imports

test: env system lint
	@sh scripts/run_tests.sh

test-full: env system-full lint
	@sh scripts/run_tests.sh full

bench: env
	@$(BIN)/python benchmarks/run_all.py
