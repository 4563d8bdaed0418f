"""A run made again beside what is stored, and tables of runs made again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pmb.errors import BadInput, RunFailed
from pmb.insight.again import compared, digest, sentence
from pmb.lab.listing import Filter, exported_runs, write_csv
from pmb.lab.reproduce import Outcome, read_table
from pmb.lab.store import Row, Store
from pmb.settings import Settings
from pmb.spec import Report, RunSpec
from tests.app import FULL, TOP_2, WHOLE, finish
from tests.conftest import result, spec
from tests.test_cli import pmb

BEFORE = {
    "metric": "accuracy",
    "score": 0.8,
    "device": "test device",
    "machine": "test machine",
    "versions": {"torch": "2.13.0"},
}


def after(**changes: Any) -> Row:
    return asdict(result()) | changes


def test_the_same_answers_are_the_same_run() -> None:
    found = compared(BEFORE, after(), (0, 1) * 3000)
    assert found.same
    assert sentence(found) == "Made again it gives the same answers on all 6,000 dev examples."


def test_other_answers_are_counted_with_what_is_not_as_it_was() -> None:
    now = after(predictions=[1, 1] * 3 + [0, 1] * 2997, score=0.7985, machine="another", versions={"torch": "2.14.0"})
    assert sentence(compared(BEFORE, now, (0, 1) * 3000)) == (
        "Made again 3 of 6,000 answers on dev differ (80.0 % then, 79.8 % now); machine test machine then, another "
        "now; torch 2.13.0 then, 2.14.0 now."
    )
    known = sentence(compared(BEFORE, after(predictions=[1, 1] + [0, 1] * 2999), (0, 1) * 3000))
    assert known.endswith("no reason is known.")


def test_without_the_answers_their_digest_tells() -> None:
    row = BEFORE | {"predictions_digest": digest((0, 1) * 3000)}
    assert compared(row, after()).same
    other = compared(row, after(predictions=(1, 1) * 3000, score=0.5))
    assert other.changed is None
    assert "its score is 80.0 % then, 50.0 % now" in sentence(other)


def test_numbers_of_a_regression_count_to_four_decimals() -> None:
    assert digest([0.12341, 2.0]) == digest([0.1234, 2.0]) != digest([0.1239, 2.0])
    assert compared(BEFORE, after(predictions=[0.12341]), [0.1234]).same


# Tables


def table_of(store: Store) -> str:
    file = io.StringIO()
    write_csv(exported_runs(store, Filter()), file)
    return file.getvalue()


@pytest.fixture
def table(store: Store, tmp_path: Path) -> Path:
    """Two finished runs and one that waits, as `runs --csv` writes them."""
    from pmb.lab import queue

    finish(store, spec(TOP_2, 0, FULL), 0.8)
    finish(store, replace(spec(WHOLE, 0, FULL), model="=HYPERLINK(1)"), 0.85)
    queue.submit(store, [spec((0,))])
    path = tmp_path / "results.csv"
    path.write_text(table_of(store), encoding="utf-8")
    return path


def test_a_table_gives_back_the_finished_runs_that_were_written(table: Path) -> None:
    found = read_table(table)
    assert [stored.spec for stored in found] == [
        spec(TOP_2, 0, FULL),
        replace(spec(WHOLE, 0, FULL), model="=HYPERLINK(1)"),
    ]
    assert [stored.row["score"] for stored in found] == [0.8, 0.85]
    assert found[0].low == pytest.approx(0.78, abs=0.01)
    assert found[0].row["predictions_digest"] == digest((0, 1) * 3000)


def test_a_table_of_before_there_were_digests_can_be_read(table: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    with (tmp_path / "old.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "predictions_digest"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert read_table(tmp_path / "old.csv")[0].row["predictions_digest"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("kept_layers", "layers"), "has no column 'kept_layers'"),
        (lambda text: text.replace('"[0, 1, 2, 3]"', '"[0, 1, 2]"'), "Line 2 of .* a value has been changed"),
        (lambda text: text.replace('"[0, 1, 2, 3]"', "top"), "Line 2 of .* cannot be read as a run"),
        (lambda text: text.replace('"[0, 1, 2, 3]"', '"{}"'), "Line 2 of .* cannot be read as a run"),
        (lambda text: text.replace(",done,", ",failed,"), "has no finished run in it"),
        (lambda text: text.replace(",accuracy,", ",luck,"), "Line 2 of .* cannot be read as a run"),
        (lambda text: text.replace(",0.8,", ",nan,"), "Line 2 of .* cannot be read as a run: expected .* at score"),
        (lambda text: text.replace(",0.8,", ",much,"), "Line 2 of .* cannot be read as a run: could not convert"),
        (lambda text: text.replace('"[0, 1, 2, 3]"', '"[0, 1, 2, 9]"'), "Line 2 of .* cannot be read as a run: "),
        (lambda text: "", "has no column 'key'"),
        (lambda text: text.splitlines()[1], "has no column 'key'"),
        (lambda text: text.splitlines()[0], "has no finished run in it"),
        (lambda text: text.replace("\n", "\nx,y\n", 1), None),
        (lambda text: text.encode() + b"\xff\xfe,done", "is no CSV file in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(table: Path, change: Any, words: str | None) -> None:
    changed = change(table.read_text(encoding="utf-8"))
    table.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    if words is None:
        assert len(read_table(table)) == 2  # a line of no finished run is not looked at
        return
    with pytest.raises(BadInput, match=words):
        read_table(table)


def test_a_table_without_end_is_not_read(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmb.lab.reproduce.MOST_MEGABYTES", 0.001)
    with pytest.raises(BadInput, match="MB; at most"):
        read_table(table)


def test_a_table_that_is_not_there_is_one_line(settings: Settings, store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        ended = pmb(settings, "reproduce", str(path))
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
        assert "cannot be read" in ended.stderr


class Pretender:
    """Instead of a child process: a made-up result, or what was asked for cannot be done."""

    score, predictions, problem = 0.8, (0, 1) * 3000, ""

    def ask(self, job: Row, report: Report) -> Row:
        if self.problem:
            raise RunFailed(self.problem)
        RunSpec.from_dict(job["spec"])
        return {"result": after(score=self.score, predictions=list(self.predictions))}


@pytest.mark.parametrize(
    ("score", "predictions", "problem", "verdict", "code"),
    [
        (0.8, (0, 1) * 3000, "", "same", 0),
        (0.79, (0, 0) * 3000, "", "within noise", 0),
        (0.7, (0, 0) * 3000, "", "differs", 1),
        (0.8, (), "No memory.", "failed", 1),
    ],
)
def test_each_run_of_a_table_has_a_verdict(
    settings: Settings,
    store: Store,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    score: float,
    predictions: tuple[int, ...],
    problem: str,
    verdict: str,
    code: int,
) -> None:
    for name, value in (("score", score), ("predictions", predictions), ("problem", problem)):
        monkeypatch.setattr(Pretender, name, value)
    monkeypatch.setattr("pmb.lab.reproduce.Child", Pretender)
    before = table_of(store)
    ended = pmb(settings, "reproduce", str(table), "--most", "1", "--json")
    assert ended.returncode == code
    (run,) = json.loads(ended.stdout)["runs"]
    assert run["verdict"] == verdict
    assert run["run"] == spec(TOP_2, 0, FULL).key[:12]
    assert f"1 {verdict}" in ended.stderr
    assert table_of(store) == before
    assert pmb(settings, "reproduce", str(table), "--most", "1").stdout.startswith(verdict)


def test_a_run_whose_model_is_gone_fails_alone(
    settings: Settings, store: Store, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmb.lab.reproduce.Child", Pretender)
    ended = pmb(settings, "reproduce", str(table))
    same, gone = ended.stdout.splitlines()
    assert same.startswith("same")
    assert gone.startswith("failed")
    assert "Unknown model" in gone
    assert ended.returncode == 1


def test_an_outcome_without_a_result_has_a_reason(table: Path) -> None:
    assert Outcome(read_table(table)[0], None, "No.").verdict == "failed"
