# One word for each habit; `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

BIN := .venv/bin
MIX := cd clients/elixir && mix
# Tests that repeat something, often enough to take long.
REPEATED := $(BIN)/pytest -o faulthandler_timeout=3600

# Tests often wait for something: one more process than processors keeps these busy.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# What the Elixir client starts. Its own default is a `dspex` on the PATH.
export DSPEX_COMMAND ?= $(CURDIR)/$(BIN)/dspex serve
# Nothing that is run from here writes into its user's own file of programs.
export DSPEX_STORE ?= memory
# Elixir warns, and prints question marks, where the terminal's locale is not UTF-8.
export ELIXIR_ERL_OPTIONS ?= +fnu
# A server imports a thousand modules; where nobody keeps their bytecode each start compiles ours anew.
export PYTHONDONTWRITEBYTECODE :=
# pyright's newer releases are no concern of a pinned environment.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo test check check-python check-elixir pytest exunit quick fmt bench sim chaos soak docs lock clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: .venv as constraints.txt says, Elixir, servers, a browser and MLflow for tests
	@scripts/side-by-side "scripts/setup-python; scripts/setup-code" \
		"scripts/setup-elixir; scripts/setup-faketime; scripts/setup-servers; scripts/setup-browser; scripts/setup-mlflow"

demo: setup ## the main job end to end, driven from Elixir
	@$(MIX) compile && mix run demo.exs

test: setup check ## everything that CI checks
	scripts/side-by-side "$(MAKE) --no-print-directory pytest" "$(MAKE) --no-print-directory exunit"

check: setup check-python check-elixir ## all checks that run no test

check-python:
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	scripts/side-by-side "$(BIN)/mypy ." "$(BIN)/pyright"
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

check-elixir:
	$(MIX) format --check-formatted
	cd clients/elixir && MIX_ENV=test mix compile --force --warnings-as-errors

pytest:
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

exunit:
	$(MIX) test --warnings-as-errors $(ARGS)

quick: setup ## the tests that take no time: make quick ARGS="-k frame"
	$(BIN)/pytest -m "not slow" $(ARGS)

fmt: setup ## put code and generated docs in order
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(MIX) format
	$(BIN)/python docs/generate.py

bench: setup ## measure; prints a table and writes bench/results/
	$(BIN)/python -m bench $(ARGS)

sim: setup ## the supervisor in simulated worlds: make sim ARGS="--seeds 100000"
	$(BIN)/python -m tests.simulation $(ARGS)

chaos: setup ## faults under load, promises checked: make chaos ARGS="--minutes 5"
	$(BIN)/python -m tests.chaos $(ARGS)
	DSPEX_TEST_FORKED_CHILDREN=10000 DSPEX_TEST_KILLS=300 DSPEX_TEST_ZYGOTE_KILLS=300 DSPEX_TEST_REPLACEMENTS=50 \
	DSPEX_TEST_RECYCLES=1000 DSPEX_TEST_LEAKING_CALLS=200 DSPEX_TEST_WRITES=2000 \
		$(REPEATED) tests/bridge/worker/test_forking.py \
		tests/end_to_end/test_{kill_storms,recycling,leftovers,standard_streams}.py
	DSPEX_TEST_HOST_KILLS=200 DSPEX_TEST_BEAM_KILLS=50 DSPEX_TEST_SUPERVISOR_KILLS=200 DSPEX_TEST_GUARDIAN_KILLS=50 \
		$(REPEATED) tests/end_to_end/test_nothing_left.py -k killed
	DSPEX_TEST_PREDICTIONS=10000 DSPEX_TEST_PIPELINES=100 \
		$(REPEATED) tests/end_to_end/test_differential.py tests/end_to_end/test_pipelines.py -k "prediction or by_hand"
	DSPEX_TEST_SUPERVISOR_WRITE_KILLS=50 DSPEX_TEST_TURNS=50 DSPEX_TEST_WRITER_KILLS=500 \
	DSPEX_TEST_ODD_CALLS=4000 DSPEX_TEST_GIVEN_UP=6000 DSPEX_TEST_CLOCK_STEPS=10 \
		$(REPEATED) tests/store/test_writer_kills.py \
		tests/end_to_end/test_{supervisor_kills,sessions,hostile_state,clock_steps}.py
	DSPEX_TEST_OPTIMIZER_KILLS=30 $(REPEATED) tests/end_to_end/test_optimizers.py -k killed
	DSPEX_TEST_JOB_ROUNDS=1000 DSPEX_TEST_JOB_SUBMISSIONS=1000 DSPEX_TEST_JOB_RECONNECTS=1000 \
		$(REPEATED) tests/store/test_jobs_in_trouble.py tests/end_to_end/test_jobs.py -k "deaths or kills or submit or cut_off"
	DSPEX_TEST_ESCAPES=1 DSPEX_TEST_FLEX_ESCAPES=1 $(REPEATED) tests/bridge/code/test_code_escapes.py tests/bridge/code/test_flex.py
	DSPEX_KILLS=100 $(MAKE) --no-print-directory exunit ARGS=test/server/kill_test.exs
	DSPEX_TEST_NESTED_ROUNDS=1000 $(REPEATED) tests/end_to_end/test_callbacks.py -k 64_chains

soak: setup ## whether anything grows with the calls, about ten minutes
	$(BIN)/python -m tests.soak $(ARGS)

docs: setup ## write the pages that are generated from code
	$(BIN)/python docs/generate.py

lock: ## write constraints*.txt anew, with the newest versions that pyproject.toml allows
	scripts/lock

clean: ## remove all that can be made again, .venv included
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	rm -rf clients/elixir/_build clients/elixir/cover bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
