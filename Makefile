# A convenience; README.md shows the plain pip and python commands too.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo demo-audio test test-slow bench docs lint format clean

# make demo                 generates AudioSet-like data, trains and compares two models on it
# make demo DATA=<folder>   the same on the released features (a folder with bal_train/ and eval/)
demo: $(READY)
	$(BIN)/python -m experiments.demo $(if $(DATA),--data='$(DATA)')

# make demo-audio                 makes sounds up, trains on them, tags a recording of a minute
# make demo-audio DATA=<folder>   the same on real sounds (a folder with clips.csv), with YAMNet
demo-audio: $(READY)
	$(BIN)/python -m experiments.demo_audio $(if $(DATA),--data='$(DATA)')

test: lint
	$(BIN)/python -m pytest -m 'not slow' -n auto --dist loadfile

test-slow: $(READY)
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=3" $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck -x experiments/cloud_tpu/*.sh

# make bench                            measures against peers, on generated clips
# make bench DATA=packed RECORDS=<dir>  the same on packed sets and on released records
bench: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	$(BIN)/python -m experiments.benchmark --output=bench.json \
	  $(if $(DATA),--data_dir='$(DATA)') $(if $(RECORDS),--records='$(RECORDS)') \
	  $(if $(ONLY),--only='$(ONLY)')

# make docs    builds the reference into site/
docs: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
