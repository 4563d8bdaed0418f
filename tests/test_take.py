"""A run's model in its place, from the command and from the page, with a child that only seems to fine-tune."""

from __future__ import annotations

import threading
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import update

from pmb.errors import NotAllowed, PmbError, RunFailed
from pmb.files import PART
from pmb.lab import exports, queue
from pmb.lab.exports import Forms, export
from pmb.lab.schema import runs
from pmb.lab.store import Row, Store, get_run
from pmb.screen.take import Making, makings
from pmb.settings import Settings
from pmb.spec import Exported, Made, Progress, Report
from tests.app import FULL, TOP_2, click, fill, finish, opened, words
from tests.conftest import spec
from tests.test_cli import pmb

MADE = Made(0.8, (0, 1) * 3000, "test device", "test machine", {"torch": "2.13.0"})


class Pretender:
    """Instead of a child process: writes a small folder, or breaks off half-way with `problem`."""

    jobs: ClassVar[list[Row]] = []
    problem = ""

    def ask(self, job: Row, report: Report) -> Row:
        self.jobs.append(job)
        report(Progress("training", 1, 2))
        folder = Path(job["folder"])
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 5000)
        if self.problem:
            raise RunFailed(self.problem)
        return {"exported": asdict(Exported(MADE, ()))}


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> type[Pretender]:
    monkeypatch.setattr("pmb.lab.executors.Child", Pretender)
    monkeypatch.setattr(Pretender, "jobs", [])
    monkeypatch.setattr(Pretender, "problem", "")
    makings().clear()
    return Pretender


@pytest.fixture
def key(store: Store) -> str:
    """A finished run."""
    finish(store, spec(TOP_2, 0, FULL), 0.8)
    return spec(TOP_2, 0, FULL).key


def test_a_folder_is_put_in_its_place_whole_with_its_card(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    taken = export(store, settings, key, tmp_path / "model", Forms())
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["README.md", "model.safetensors"]
    assert taken.again.same
    assert "Made again it gives the same answers on all 6,000 dev examples." in card(tmp_path / "model")
    assert pretended.jobs[0]["folder"].endswith(PART)
    assert list(tmp_path.glob(f"*{PART}")) == []


def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_zip_has_one_folder_in_it(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    export(store, settings, key, tmp_path / "model.zip", Forms())
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert sorted(archive.namelist()) == ["model/README.md", "model/model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model.zip"]


def test_what_is_broken_off_leaves_nothing(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    pretended.problem = "The run could not read or write a file: No space left on device."
    with pytest.raises(RunFailed, match="No space left"):
        export(store, settings, key, tmp_path / "model", Forms())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("model")] == []


def test_the_run_is_made_again_on_as_many_threads_as_before(store: Store, key: str) -> None:
    run = get_run(store, key)
    assert run is not None
    for machine, threads in (
        ("Linux x86_64, AVX2, 1 thread", 1),
        ("Linux, 2 threads, bfloat16", 2),
        ("a, 999 threads", 64),
    ):
        assert exports.threads_of(run | {"machine": machine}) == threads


def test_what_cannot_be_exported_is_one_line_by_command(
    settings: Settings, store: Store, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, failed = spec((0,), 1), spec((0,), 2)
    queue.submit(store, [failed])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "It broke.", "")
    edited = spec((0,), 3)
    finish(store, edited, 0.8)
    queue.submit(store, [waiting])
    with store.connect() as connection:
        connection.execute(update(runs).where(runs.c.key == edited.key).values(score=7.0))
    (tmp_path / "there").mkdir()
    target = str(tmp_path / "new")
    for arguments, sentence in (
        ((waiting.key[:12], target), "is queued: it has no model yet"),
        ((failed.key[:12], target), "failed and has no model; `python -m pmb retry"),
        ((edited.key[:12], target), "is gone from the store, or its row there is damaged"),
        (("abc123", target), "No run begins with 'abc123'"),
        ((key[:12], str(tmp_path / "there")), "is there already, and an export overwrites nothing"),
        ((key[:12], str(tmp_path / "no" / "where")), "is no folder, so where cannot be put there"),
    ):
        ended = pmb(settings, "export", *arguments)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert sentence in ended.stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install -r requirements-onnx.txt" in pmb(settings, "export", key[:12], target, "--int8").stderr
    assert not Path(target).exists()


def test_who_may_only_look_exports_nothing(store: Store, settings: Settings, key: str, tmp_path: Path) -> None:
    reader = store.reader("You may look.")
    with pytest.raises(NotAllowed):
        export(reader, settings, key, tmp_path / "model", Forms())
    reader.close()


def test_too_small_a_disk_is_said_before_anything_is_trained(
    store: Store, settings: Settings, key: str, tiny_disk: Path, pretended: type[Pretender]
) -> None:
    with pytest.raises(PmbError, match=r"needs about 53 MB, and .*tiny has 2 MB free"):
        export(store, settings, key, tiny_disk / "model", Forms())
    assert pretended.jobs == []
    assert list(tiny_disk.iterdir()) == []


# The page


@pytest.mark.slow
def test_the_page_makes_a_zip_in_the_background_and_offers_it(
    scored: Store, settings: Settings, pretended: type[Pretender], content_streamlit: None
) -> None:
    fill(scored, seeds=1)
    run = spec(TOP_2, 0, FULL).key
    app = opened(k="2")
    assert "Weights are not kept" in words(app)
    pretended.problem = "It *broke*."
    click(app, f"take_make_{run[:12]}")
    wait_for_makings()
    app.run()
    assert "It \\*broke\\*\\." in words(app) or "It \\*broke\\*." in words(app)
    pretended.problem = ""
    click(app, f"take_make_{run[:12]}")
    wait_for_makings()
    app.run()
    (made,) = (settings.home / "weights").glob("*.zip")
    assert made.name.startswith("minilm-l6-rotten-tomatoes-4-layers-seed0-")
    assert any(button.proto.label.startswith("Download, ") for button in app.get("download_button"))


def wait_for_makings() -> None:
    for making in makings().values():
        making._thread.join(10)


def test_a_making_that_is_stopped_says_so() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(report: Report) -> None:
        begun.set()
        go_on.wait(10)
        report(Progress("training"))

    making = Making(make)
    begun.wait(10)
    assert making.goes_on
    making.stop()
    go_on.set()
    making._thread.join(10)
    assert making.problem == "The export was cancelled."
