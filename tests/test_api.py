"""The lab from Python: what its docstrings and README show is true, and it says what the command line says."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys

import pytest

import pmb
from pmb import api
from pmb.errors import BadInput
from pmb.lab.store import Store
from pmb.settings import REPOSITORY, Settings
from tests.app import TOP_2, WHOLE, fill
from tests.test_cli import pmb as command


@pytest.fixture
def shipped_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home of its own that has the results of the repository."""
    monkeypatch.delenv("PMB_SHIPPED")
    return settings


def test_what_docstrings_and_readme_show_is_true(shipped_home: Settings) -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    shown = [found for found in finder.find(api, globs={}) if found.examples]
    assert {found.name for found in shown} == {"pmb.api.plan", "pmb.api.run", "pmb.api.results"}
    for found in shown:
        runner.run(found)
    assert runner.summarize().failed == 0
    assert doctest.testfile(str(REPOSITORY / "README.md"), False, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_python_and_the_command_line_say_the_same(settings: Settings, store: Store) -> None:
    fill(store)
    planned = command(settings, "plan", "--strategy", "top", "--drop", "2", "--json")
    assert pmb.plan(strategy="top", drop=2) == json.loads(planned.stdout)
    done = command(settings, "run", "--strategy", "top", "--drop", "2", "--recipe", "full", "--json")
    assert pmb.run(strategy="top", drop=2, recipe="full") == json.loads(done.stdout)


def test_results_are_the_finished_runs_with_numbers_as_numbers(store: Store) -> None:
    fill(store)
    table = pmb.results()
    assert len(table) == 18
    assert list(table["depth"].unique()) == [6, 5, 4, 3, 2, 1]
    assert table[table["kept_layers"] == WHOLE]["score"].tolist() == [0.8, 0.804, 0.808]
    assert (table["score_low"] < table["score"]).all()
    assert table["finished_at"].dt.tz is not None
    assert table[table["kept_layers"] == TOP_2]["dropped_layers"].iloc[0] == (4, 5)


def test_an_empty_store_has_no_results(settings: Settings) -> None:
    assert pmb.results().empty


def test_a_run_that_failed_raises_its_reason(settings: Settings) -> None:
    with pytest.raises(BadInput, match=r"Run 0123 failed: Not a number in epoch 2\."):
        api.check_done({"run": "0123", "state": "failed", "error": "Not a number in epoch 2."})


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, pmb; print(sorted(n for n in sys.modules if n.startswith(('pmb.', 'sqlalchemy', 'pandas'))))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sweeps'"):
        _ = pmb.sweeps
