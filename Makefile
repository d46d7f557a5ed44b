# `make demo` and `make test` set themselves up in $(VENV); with that done, they start in seconds.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint clean help

help:
	@echo "make demo   a face goes in on the device, a private answer comes out of the cloud"
	@echo "make test   the whole test suite"
	@echo "make check  what needs neither training, a server nor all models, nor takes long: the inner loop, in under 90 seconds"
	@echo "make lint   ruff, and mypy on the types"
	@echo "make clean  removes $(VENV) and what tools left behind"

demo: $(VENV)/cloud.stamp
	@$(BIN)/privzoo demo

# Two workers fill two cores: more threads in each would only wait for one another.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

test: $(VENV)/test.stamp tflite/web/node_modules
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -n 2 -m "not training and not server and not all_models and not slow"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One stamp for each extra that is installed: cloud.stamp, test.stamp.
$(VENV)/%.stamp: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing privzoo[$*] into $(VENV); the first time, this takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

# For the tests of the browser page, which are skipped without it or without Chromium.
tflite/web/node_modules: tflite/web/package-lock.json
	@npm ci --silent --prefix tflite/web || echo "npm could not fetch LiteRT.js: the page's tests are skipped."

clean:
	rm -rf tflite/web/node_modules $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
