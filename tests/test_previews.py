"""Previews on their way into the store: written as they come, asked for once, stopped, failed; by command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pmb.catalog.models import MODELS, cuts_by
from pmb.catalog.tasks import TASKS
from pmb.errors import NotAllowed, PmbError, RunFailed
from pmb.lab import previews
from pmb.lab.child import WAITED_FOR
from pmb.lab.executors import Child
from pmb.lab.plan import known_layer_scores
from pmb.lab.previews import Previews, known_previews, missing_previews, preview, save_preview
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import Progress
from pmb.strategies import STRATEGIES
from tests.app import FULL, WHOLE, finish
from tests.conftest import spec
from tests.test_cli import pmb

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
SCORES = (0.2, 0.9, 0.8, 0.7, 0.6, 0.3)


class Scripted(Child):
    """A child that says what it is told to, and remembers its job."""

    def __init__(self, messages: Iterable[dict[str, Any] | None]) -> None:
        self.messages, self.ended = iter(messages), 0
        self.job: dict[str, Any] = {}

    def send(self, job: dict[str, Any]) -> None:
        self.job = job

    def receive(self, timeout_seconds: float | None) -> dict[str, Any] | None:
        return next(self.messages)

    def end(self) -> None:
        self.ended += 1


def cut(*kept: int, score: float = 0.6) -> dict[str, Any]:
    return {"kept": list(kept), "score": score, "computed_on": "test device"}


def save(store: Store, scores: dict[tuple[int, ...], float]) -> None:
    """Previews as a child would have told them."""
    for kept, score in scores.items():
        save_preview(store, MODEL, TASK, cut(*kept, score=score))


@pytest.mark.both_databases
def test_each_cut_is_kept_as_soon_as_it_is_told(store: Store, settings: Settings) -> None:
    seen: list[int] = []

    def messages() -> Iterable[dict[str, Any] | None]:
        yield {"scores": SCORES}
        for count, message in enumerate((cut(0), None, cut(0, 1, score=0.7), cut(0, score=0.9))):
            yield message
            seen.append(len(known_previews(store, MODEL, TASK)))
            yield {"progress": asdict(Progress("previewing", count, 4))}
        yield {}

    child = Scripted(messages())
    phases: list[Progress] = []
    preview(store, settings, MODEL, TASK, ["top"], [(3,)], phases.append, start=lambda: child)
    assert seen == [1, 1, 2, 2]
    found = known_previews(store, MODEL, TASK)
    assert {kept: row["score"] for kept, row in found.items()} == {(0,): 0.6, (0, 1): 0.7}  # what is there stays
    assert found[0,]["device"] == "test device"
    assert known_layer_scores(store, MODEL, TASK) == SCORES
    assert [progress.step for progress in phases] == [0, 0, 1, 2, 3]
    assert (child.job["strategies"], child.job["also"], child.job["known"]) == (["top"], [[3]], [])
    assert child.ended == 1


@pytest.mark.both_databases
def test_only_what_is_missing_is_asked_for_and_a_second_time_nothing(scored: Store, settings: Settings) -> None:
    cuts = cuts_by(MODEL, STRATEGIES, SCORES)
    save(scored, dict.fromkeys(cuts[:-1], 0.6))
    assert missing_previews(scored, MODEL, TASK, STRATEGIES)
    child = Scripted([cut(*cuts[-1]), {}])
    preview(scored, settings, MODEL, TASK, STRATEGIES, start=lambda: child)
    assert sorted(map(tuple, child.job["known"])) == sorted(cuts[:-1])
    assert child.job["scores"] == SCORES
    assert not missing_previews(scored, MODEL, TASK, STRATEGIES)
    assert missing_previews(scored, MODEL, TASK, STRATEGIES, [(0, 3)])

    def none_is_started() -> Child:
        raise AssertionError

    preview(scored, settings, MODEL, TASK, STRATEGIES, start=none_is_started)


def test_without_contribution_scores_its_cuts_are_missing(store: Store) -> None:
    save(store, dict.fromkeys(cuts_by(MODEL, STRATEGIES, None), 0.6))
    assert not missing_previews(store, MODEL, TASK, ["top", "bottom"])
    assert missing_previews(store, MODEL, TASK, STRATEGIES)


def test_what_was_computed_otherwise_is_not_taken_for_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, {(0,): 0.6})
    assert known_previews(store, MODEL, TASK)
    for name in ("SCHEMA", "TRAIN_SENTENCES", "DEV_SENTENCES"):
        with monkeypatch.context() as changed:
            changed.setattr(previews, name, getattr(previews, name) + 1)
            assert not known_previews(store, MODEL, TASK), name


def test_a_child_that_fails_is_a_sentence_and_is_ended(store: Store, settings: Settings) -> None:
    child = Scripted([cut(0), {"error": "The disk is full."}])
    with pytest.raises(RunFailed, match="The disk is full"):
        preview(store, settings, MODEL, TASK, ["top"], start=lambda: child)
    assert child.ended == 1
    assert list(known_previews(store, MODEL, TASK)) == [(0,)]


def test_who_may_only_look_starts_none(store: Store, settings: Settings) -> None:
    reader = store.reader("You may look.")
    with pytest.raises(NotAllowed, match="You may look"):
        preview(reader, settings, MODEL, TASK, ["top"])
    with pytest.raises(NotAllowed, match="You may look"):
        Previews().start(reader, settings, MODEL, TASK, ["top"])
    reader.close()


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within some seconds."""
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_of_several_previews_one_goes_on_at_a_time_and_each_can_be_stopped(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []

    def until_stopped(store: Store, found: Settings, model: Any, task: Any, names: Any, *rest: Any) -> None:
        _, tell, stop, _ = rest
        began.append(task.id)
        tell(Progress("loading", note="on the CPU: it is full"))
        tell(Progress("previewing", 6, 20))
        assert stop.wait(10)
        if task.id == "sst2":
            raise PmbError("It broke off.")

    monkeypatch.setattr(previews, "preview", until_stopped)
    going = Previews()
    for task in ("rotten-tomatoes", "sst2", "rotten-tomatoes"):
        going.start(store, settings, MODEL, TASKS[task], ["top"])
    first, second = going.of(MODEL, TASK), going.of(MODEL, TASKS["sst2"])
    assert first is not None
    assert second is not None
    assert soon(lambda: first.progress.step == 6)
    assert (second.progress.phase, began) == ("waiting", ["rotten-tomatoes"])
    assert (first.first, first.told()) == (6, 1)  # the whole model and top's five cuts: the first curve is there
    first.stop.set()
    assert soon(lambda: first.ended and second.progress.step == 6)
    second.stop.set()
    assert soon(lambda: second.ended)
    assert (first.error, second.error) == ("", "It broke off.")
    assert first.note == "on the CPU: it is full"
    assert began == ["rotten-tomatoes", "sst2"]
    assert going.of(MODEL, TASKS["mrpc"]) is None


def test_a_child_started_ahead_is_taken_once_and_ends_where_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle(Scripted):
        alive = True

        def __init__(self, command: Sequence[str]) -> None:
            super().__init__([])
            assert command[-1] == WAITED_FOR

    monkeypatch.setattr(previews, "Child", Idle)
    monkeypatch.setattr(previews, "AHEAD_SECONDS", 60.0)
    going = Previews()
    going.prepare()
    ahead = going._ahead
    going.prepare()
    assert going._ahead is ahead
    assert going._take() is ahead
    assert going._take() is not ahead
    monkeypatch.setattr(previews, "AHEAD_SECONDS", 0.01)
    going.prepare()
    unused: Any = going._ahead
    assert soon(lambda: unused.ended == 1)
    assert going._ahead is None
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.cancel()


def test_by_command_what_is_known_is_printed_with_its_bands(scored: Store, settings: Settings) -> None:
    cuts = cuts_by(MODEL, STRATEGIES, SCORES)
    save(scored, {kept: 0.6 + 0.01 * (sum(kept) % 5) for kept in cuts})
    for number, kept in enumerate(cuts[:9]):
        finish(scored, spec(kept, 0, FULL), 0.6 + 0.03 * len(kept) + 0.004 * (number % 3))
    lines = pmb(settings, "preview", "--strategy", "top").stdout.splitlines()
    assert len(lines) == 1 + 6 + 1
    assert lines[0].split() == ["strategy", "dropped", "kept", "frozen", "predicted", "band", "measured"]
    assert lines[1].split()[:3] == ["top", "0", "0,1,2,3,4,5"]
    assert lines[-1].startswith("Of 9 measured cuts, each predicted from the others, ")
    values = json.loads(pmb(settings, "preview", "--json").stdout)
    assert (values["cached"], values["calibration"]["configurations"]) == (True, 9)
    assert {row["strategy"] for row in values["cuts"]} == set(STRATEGIES)
    row = values["cuts"][0]
    assert row["low"] < row["predicted"] < row["high"]
    values = json.loads(pmb(settings, "preview", "--recipe", "quick", "--json").stdout)
    assert values["calibration"] is None
    assert values["sentence"].startswith("Uncalibrated: 0 of these cuts are measured")
    assert {row["predicted"] for row in values["cuts"]} == {None}


def test_by_command_one_cut_or_random_draws(scored: Store, settings: Settings) -> None:
    every = [kept for depth in range(1, 7) for kept in combinations(range(6), depth)]
    save(scored, {kept: 0.6 + 0.001 * number for number, kept in enumerate(every)})
    (row,) = json.loads(pmb(settings, "preview", "--keep", "0,3,5", "--json").stdout)["cuts"]
    assert (row["strategy"], row["kept_layers"]) == ("custom", [0, 3, 5])
    values = json.loads(pmb(settings, "preview", "--strategy", "random", "--json").stdout)
    assert len(values["cuts"]) == 10 * 6
    assert [draw["drop_count"] for draw in values["draws"]] == [0, 1, 2, 3, 4, 5]
    assert (values["draws"][0]["cuts"], values["draws"][0]["low"]) == (1, None)
    assert all(draw["low"] < draw["value"] < draw["high"] for draw in values["draws"][1:])
    said = pmb(settings, "preview", "--strategy", "random").stdout
    assert "random, 3 dropped: mean of " in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--recipe", "slow"), "There are: full, quick, standard, stable"),
        (("--strategy", "topp"), "Did you mean 'top'?"),
        (("--strategy", "top", "--keep", "0"), "--keep names the layers itself"),
        (("--keep", "7"), "layers are 0 to 5"),
        (("--model", "minilm"), "Did you mean 'minilm-l6'?"),
    ],
)
def test_bad_input_is_one_line(settings: Settings, arguments: tuple[str, ...], words: str) -> None:
    ended = pmb(settings, "preview", *arguments)
    assert (ended.returncode, len(ended.stderr.splitlines()), ended.stdout) == (2, 1, "")
    assert words in ended.stderr


@pytest.mark.slow
def test_by_command_the_real_model_on_a_table(home_with_assets: Settings, store: Store, tmp_path: Path) -> None:
    words = ("good", "bad")
    path = tmp_path / "films.csv"
    path.write_text("\n".join(["text,label", *(f"a {words[i % 2]} film number {i},{words[i % 2]}" for i in range(60))]))
    values = json.loads(pmb(home_with_assets, "preview", "--task", f"csv:{path}", "--json").stdout)
    assert values["cached"] is False
    assert {row["strategy"] for row in values["cuts"]} == set(STRATEGIES)
    assert all(row["frozen"] > 0.5 for row in values["cuts"])
    again = json.loads(pmb(home_with_assets, "preview", "--task", f"csv:{path}", "--json").stdout)
    assert again == values | {"cached": True}
    assert tuple(values["cuts"][0]["kept_layers"]) == WHOLE
