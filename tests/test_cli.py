"""The command line as a user calls it: results, JSON, and bad input as one line and exit code 2."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import socket
import subprocess
import sys

import pytest

from pmb import cli
from pmb.catalog.recipes import RECIPES
from pmb.lab import queue, silence
from pmb.lab.plan import scores_identity
from pmb.lab.store import Store, list_runs, save_layer_scores
from pmb.settings import REPOSITORY, Settings
from tests.conftest import result, spec

QUICK = RECIPES["quick"]


def pmb(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command line within this process; `settings` has set PMB_HOME."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pmb", *arguments])
        patch.setattr(silence, "SILENT_SECONDS", 60.0)  # on a machine with much to do a child takes long to start
        patch.setattr(cli.ProgressLine, "first_seconds", 60.0)
        for name, value in environment.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
                code: int | str | None = 0
            except SystemExit as end:
                code = end.code
    return subprocess.CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())


def pmb_process(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "pmb", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PMB_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def done(store: Store, kept: tuple[int, ...], seed: int = 0, score: float = 0.75) -> str:
    key = queue.submit(store, [spec(kept, seed, QUICK)])[0].key
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.finish(store, claim.key, "worker", result(score))
    return key


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "--strategy", "tpo", "--drop", "2"), "Unknown strategy 'tpo'. Did you mean 'top'?"),
        (("plan", "--model", "minilm", "--strategy", "top", "--drop", "2"), "Did you mean 'minilm-l6'?"),
        (("run", "--task", "sst3", "--drop", "0"), "Unknown task 'sst3'"),
        (("run", "--recipe", "slow", "--drop", "0"), "There are: full, quick, standard, stable"),
        (("plan", "--strategy", "top", "--drop", "6"), "from 0 to 5"),
        (("plan", "--strategy", "symmetric", "--drop", "3"), "0, 2, 4"),
        (("plan", "--strategy", "top", "--drop", "-1"), "from 0 to 5"),
        (("plan", "--keep", "0,0"), "named twice"),
        (("plan", "--keep", "2,1"), "ascending"),
        (("plan", "--keep", "0,9"), "0 to 5"),
        (("plan", "--keep", "0,x"), "'x' in '0,x' is not a whole number"),
        (("run", "--keep", "0,1", "--strategy", "top"), "leave out --strategy"),
        (("run", "--keep", "0,1", "--drop", "1"), "leave out --strategy and --drop"),
        (("run", "--drop", "2"), "needs a --strategy"),
        (("run",), "Say what to cut"),
        (("plan", "--strategy", "top", "--threshold", "0.9"), "goes with --strategy contribution"),
        (("plan", "--strategy", "contribution", "--threshold", "high"), "'high' is not a valid float"),
        (("run", "--drop", "0", "--seed", "one"), "'one' is not a valid integer"),
        (("run", "--drop", "0", "--seed", "-4"), "Seed -4"),
        (("sweep", "--strategies", "top,nope"), "Unknown strategy 'nope'"),
        (("sweep", "--strategies", "even-alternate", "--drops", "4"), "Drop count 4 is not possible"),
        (("cancel", "abc"), "No run begins with 'abc'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("plan", "--nonsense"), "No such option"),
        (("dashboard", "--port", "99999"), "99999"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(settings: Settings, arguments: tuple[str, ...], words: str) -> None:
    ended = pmb(settings, *arguments)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_an_executor_that_is_not_there_is_refused(settings: Settings) -> None:
    ended = pmb(settings, "runs", PMB_EXECUTOR="cloud")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "PMB_EXECUTOR is 'cloud'" in ended.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "65"])
def test_a_number_of_jobs_that_cannot_be_is_refused(settings: Settings, jobs: str) -> None:
    ended = pmb(settings, "runs", PMB_JOBS=jobs)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert f"PMB_JOBS is {jobs!r}; a whole number from 1 to 64 is allowed." in ended.stderr


def test_a_port_in_use_is_named_with_the_command_that_avoids_it(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = pmb(settings, "dashboard", "--port", str(port))
    assert ended.returncode == 2
    assert f"Port {port}" in ended.stderr
    assert f"make run PORT={port + 1}" in ended.stderr


def test_every_verb_has_help(settings: Settings) -> None:
    verbs = (
        "plan",
        "run",
        "sweep",
        "probe",
        "runs",
        "cancel",
        "retry",
        "export",
        "reproduce",
        "worker",
        "dashboard",
        "doctor",
        "assets",
        "ship",
    )
    listing = pmb(settings, "--help").stdout
    assert all(f"\n  {verb} " in listing for verb in verbs)
    assert "Usage" in pmb(settings, "sweep", "--help").stdout


def test_plan_prints_what_stays_and_what_goes(settings: Settings) -> None:
    ended = pmb(settings, "plan", "--strategy", "even-alternate", "--drop", "2", "--json")
    assert json.loads(ended.stdout) == {
        "model": "minilm-l6",
        "num_hidden_layers": 6,
        "kept_layers": [0, 1, 2, 4],
        "dropped_layers": [3, 5],
        "strategy": ["even-alternate"],
    }


def test_the_papers_threshold_form_of_contribution_can_be_asked_for(settings: Settings, store: Store) -> None:
    save_layer_scores(store, scores_identity(spec()), [0.2, 0.9, 0.96, 0.7, 0.6, 0.3])
    ended = pmb(settings, "plan", "--strategy", "contribution", "--threshold", "0.85", "--json")
    assert json.loads(ended.stdout)["dropped_layers"] == [1, 2]
    refused = pmb(settings, "plan", "--strategy", "contribution", "--threshold", "0.1")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)


def test_a_cached_run_prints_at_once_with_all_that_is_promised(settings: Settings, store: Store) -> None:
    key = done(store, (0, 1, 2, 3), score=0.75)
    done(store, (0, 1, 2, 3, 4, 5), score=0.80)
    ended = pmb_process(settings, "run", "--strategy", "top", "--drop", "2", "--json")
    values = json.loads(ended.stdout)
    assert values["run"] == key[:12]
    assert values["cached"] is True
    assert (values["score"], values["whole_model_score"]) == (0.75, 0.80)
    assert values["score_interval"] == pytest.approx([0.73, 0.77], abs=1e-3)
    promised = "run state model task strategy kept_layers dropped_layers seed metric score score_interval "
    promised += "whole_model_score parameters whole_model_parameters speedup train_seconds cached"
    assert set(promised.split()) <= set(values)
    text = pmb(settings, "run", "--keep", "0,1,2,3").stdout
    assert "75.0 %  (73.0 to 77.0; whole model 80.0 %)" in text
    assert "cached" in text


def test_sweep_asks_for_shared_cuts_once_and_always_for_the_whole_model(settings: Settings, store: Store) -> None:
    arguments = ("--strategies", "top,even-alternate", "--drops", "1,2", "--seeds", "0,1", "--no-wait")
    ended = pmb(settings, "sweep", *arguments)
    assert ended.stderr.strip() == "4 cuts, 8 runs, 0 of them cached."
    assert {tuple(row["kept_layers"]) for row in list_runs(store)} == {
        (0, 1, 2, 3, 4, 5),
        (0, 1, 2, 3, 4),
        (0, 1, 2, 3),
        (0, 1, 2, 4),
    }
    pmb(settings, "sweep", *arguments)
    assert len(list_runs(store)) == 8


def test_cancel_and_retry_take_the_first_letters_of_a_run(settings: Settings, store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    assert "cancelled" in pmb(settings, "cancel", key[:6]).stdout
    assert "queued" in pmb(settings, "retry", key[:6]).stdout


def test_runs_as_csv_has_every_row_and_column(settings: Settings, store: Store) -> None:
    for seed in range(3):
        done(store, (0, 1), seed)
    rows = list(csv.DictReader(io.StringIO(pmb(settings, "runs", "--csv").stdout)))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert {"key", "kept_layers", "score", "train_seconds", "started_at", "finished_at", "device"} <= set(rows[0])


def test_a_damaged_store_is_one_line(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "lab.sqlite").write_bytes(b"x" * 5000)
    ended = pmb_process(settings, "runs")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)


def test_doctor_says_no_where_the_assets_are_broken(settings: Settings) -> None:
    settings.assets.mkdir(parents=True)
    from pmb.engine.assets import _hashes

    for wheel in _hashes():
        (settings.assets / wheel).write_bytes(b"broken")
    ended = pmb(settings, "assets")
    assert ended.returncode == 2
    assert "is damaged" in ended.stderr


def test_a_run_has_the_same_names_in_every_json(settings: Settings, store: Store) -> None:
    key = done(store, (0, 1, 2, 3))
    one = json.loads(pmb(settings, "run", "--strategy", "top", "--drop", "2", "--json").stdout)
    (listed,) = json.loads(pmb(settings, "runs", "--json").stdout)["runs"]
    assert one["run"] == listed["run"] == key[:12]
    assert "key" not in listed
    assert {name: listed[name] for name in set(one) & set(listed)} == {
        name: one[name] for name in set(one) & set(listed)
    }
    assert set(one) - set(listed) == {
        *("strategy", "whole_model_score", "speedup", "cached"),
        *("bag_of_words_score", "constant_score", "note"),
    }  # more than a row has
