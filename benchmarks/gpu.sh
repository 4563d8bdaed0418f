#!/usr/bin/env bash
# The GPU rows of RESULTS.md in one command: brings what it needs into .venv, measures, prints the tables last.
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory .venv/installed-dev assets
.venv/bin/python -m benchmarks.gpu --pairs "${PAIRS:-5}" --write
