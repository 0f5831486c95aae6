# A convenience; README.md shows the plain pip and python commands too.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is installed there: what the demos need, or everything that tests and documentation need too.
DEMO := $(VENV)/.demo
ALL := $(VENV)/.all

.PHONY: demo demo-audio test test-slow bench docs lint format clean

# make demo                 generates AudioSet-like data, trains and compares two models on it
# make demo DATA=<folder>   the same on the released features (a folder with bal_train/ and eval/)
demo: $(DEMO)
	$(BIN)/python -m experiments.demo $(if $(DATA),--data='$(DATA)')

# make demo-audio                 makes sounds up, trains on them, tags a recording of a minute
# make demo-audio DATA=<folder>   the same on real sounds (a folder with clips.csv), with YAMNet
demo-audio: $(DEMO)
	$(BIN)/python -m experiments.demo_audio $(if $(DATA),--data='$(DATA)')

test: lint
	$(BIN)/python -m pytest -m 'not slow' -n auto --dist loadfile

test-slow: $(ALL)
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=2" $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

lint: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck -x experiments/cloud_tpu/*.sh

# make bench                            measures against peers, on generated clips
# make bench DATA=packed RECORDS=<dir>  the same on packed sets and on released records
bench: $(ALL)
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	$(BIN)/python -m experiments.benchmark --output=bench.json \
	  $(if $(DATA),--data='$(DATA)') $(if $(RECORDS),--records='$(RECORDS)') \
	  $(if $(ONLY),--only='$(ONLY)')

# make docs    builds the reference into site/
docs: $(ALL)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

format: $(ALL)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pip is not quiet, so that one sees it is alive.
$(DEMO): EXTRAS = plots,audio
$(ALL): EXTRAS = test
$(DEMO) $(ALL): setup.py | $(VENV)/.made
	@echo 'installing mla_jax with $(EXTRAS) into $(VENV): 2.5 to 3 GB, a few minutes'
	$(BIN)/python -m pip install -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
