# make run | test | check | assets | format | clean
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin

.PHONY: run test check style format assets browser postgresql clean

run: .venv/installed assets
	$(BIN)/python -m pmb dashboard --port $(PORT)

test: .venv/installed-dev assets browser postgresql
	$(MAKE) --no-print-directory style
	$(BIN)/python -m pytest -n 2 --dist loadscope

check: .venv/installed-dev assets
	$(MAKE) --no-print-directory style
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Types are checked by a test (tests/test_structure.py), beside others that wait: mypy uses one core.
style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The embedded model and data, checked against the hashes in assets.txt.
assets: .venv/installed
	$(BIN)/python -m pmb assets

# Chromium for the browser tests and a PostgreSQL server for the store's: installed where this user may, else those
# tests say that they were skipped.
browser:
	@command -v chromium >/dev/null || $(call install,chromium) || \
	  echo "No chromium here and no right to install it: browser tests will be skipped."

postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || $(call install,postgresql) || \
	  echo "No PostgreSQL server here and no right to install it: tests of the store on it will be skipped."

install = { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }

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
