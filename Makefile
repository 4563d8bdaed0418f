# make run | test | check | assets | format | clean
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin

.PHONY: run test check lint format assets browser clean

run: .venv/installed assets
	$(BIN)/python -m pmb dashboard --port $(PORT)

test: .venv/installed-dev assets browser
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest

check: .venv/installed-dev assets
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -m "not slow"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The embedded model and data, checked against the hashes in assets.txt.
assets: .venv/installed
	$(BIN)/python -m pmb assets

# Chromium for the browser tests: installed where this user may, else those tests say that they were skipped.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "No chromium here and no right to install it: browser tests will be skipped."

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis test-output
