"""Fixtures: a home of its own for every test, the embedded assets, small models with random weights."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.engine import assets
from pmb.lab.plan import scores_identity
from pmb.lab.store import Store, open_store, save_layer_scores
from pmb.settings import REPOSITORY, Settings, from_environment
from pmb.spec import Recipe, RunResult, RunSpec, Score
from tests.postgres import Server, programs, running

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # torch, also in child processes, on one core each: on two, they wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"

SHARED = REPOSITORY.parent / "shared"
ASSETS = from_environment().assets  # read before a fixture changes the environment
TINY = replace(RECIPES["quick"], name="tiny", train_sentences=48, epochs=1)


@pytest.fixture(scope="session")
def assets_folder() -> Path:
    """The folder with the embedded wheels, which `make assets` brings."""
    assets.check(ASSETS)
    return ASSETS


@pytest.fixture
def shared() -> Path:
    """Reference files beside the repository, which are not part of it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return SHARED


# Files whose tests start workers, clusters or browsers and wait for them: no two of these at a time on two cores.
STARTS_PROCESSES = ("test_browser", "test_cluster", "test_faults", "test_worker")


class WaitingInTurn(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Leaves the tests of those files to one of pytest-xdist's processes, and gives each other test to who is free.

    By the files' names: pytest-xdist 3.8 finds no mark of a group under pytest 9.2 (its issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return "starts processes" if Path(nodeid.partition("::")[0]).stem in STARTS_PROCESSES else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """How `make test` shares the tests out."""
    return WaitingInTurn(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with slow tests, so that both processes end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among what is imported, torch and much else that stays: that takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests marked `both_databases` once with each."""
    find = metafunc.definition.get_closest_marker
    chosen = any(mark.args[0] == "database" for mark in metafunc.definition.iter_markers("parametrize"))
    if find("both_databases") and not find("only_sqlite") and not chosen and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server: `make test` says how it is installed")
    with running(found) as server:
        yield server


@pytest.fixture(scope="session")
def one_on_postgres(postgres: Server) -> str:
    """The name of a database with the schema."""
    name = postgres.create()
    open_store(Settings(postgres.folder, postgres.url(name), "local", postgres.folder / "nothing", None)).close()
    return name


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it, to be copied: a migration takes a third of a second."""
    home = tmp_path_factory.mktemp("empty")
    open_store(Settings(home, "", "local", home / "nothing-shipped", None)).close()
    return home / "lab.sqlite"


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """PMB_DATABASE_URL: that of an empty PostgreSQL database, or nothing for SQLite in the home."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield ""
        return
    server: Server = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("one_on_postgres")
    server.empty(name)
    yield server.url(name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> Settings:
    """An empty PMB_HOME, without shipped results."""
    home = tmp_path / "home"
    environment = {"HOME": home, "SHIPPED": tmp_path / "nothing-shipped", "DATABASE_URL": database}
    for name, value in environment.items():
        monkeypatch.setenv(f"PMB_{name}", str(value))
    for name in ("READ_ONLY", "RUNNERS", "QUEUE_LIMIT", "CONFINED"):
        monkeypatch.delenv(f"PMB_{name}", raising=False)
    return Settings(home, database, "local", tmp_path / "nothing-shipped", None)


@pytest.fixture
def store(settings: Settings, empty_file: Path) -> Iterator[Store]:
    """An empty store in that home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    if not settings.database_url:
        shutil.copy(empty_file, settings.home / "lab.sqlite")
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def home_with_assets(settings: Settings, assets_folder: Path) -> Settings:
    """The home, with the embedded assets in it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    os.symlink(assets_folder, settings.assets)
    return settings


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all space of a disk; the file that does can be deleted."""
    others = folder / "others"
    until_it_fails = ["dd", "if=/dev/zero", f"of={others}", "bs=4096"]
    subprocess.run(until_it_fails, capture_output=True, check=False)
    return others


def spec(kept: tuple[int, ...] = (0,), seed: int = 0, recipe: Recipe = TINY) -> RunSpec:
    """A run of the embedded model and task."""
    model, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    return RunSpec(model.id, model.revision, task.id, task.revision, 6, kept, recipe, seed)


def result(score: float = 0.8) -> RunResult:
    """A made-up result for tests of what stores and shows results."""
    return RunResult(
        metric="accuracy",
        score=score,
        scores=(Score("accuracy", score, score - 0.02, score + 0.02),),
        predictions=(0, 1) * 3000,
        parameters=12_000_000,
        whole_model_parameters=22_000_000,
        megabytes=48.0,
        whole_model_megabytes=88.0,
        train_seconds=10.0,
        total_seconds=12.0,
        losses=(0.7, 0.4),
        fast=True,
        device="test device",
        machine="test machine",
        versions={"torch": "2.13.0"},
    )


@pytest.fixture
def scored(store: Store) -> Store:
    """A store that knows the contribution scores, so that no page needs a child process."""
    save_layer_scores(store, scores_identity(spec()), [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])
    return store


class Collected(logging.Handler):
    """Keeps what Streamlit logs: its loggers do not propagate, so that pytest sees nothing of them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def content_streamlit(settings: Settings) -> Iterator[None]:
    """Fails a test in which Streamlit logs a warning; nothing is cached before and after."""
    st.cache_resource.clear()
    st.cache_data.clear()
    handler = Collected()
    loggers = [
        logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("streamlit")
    ]
    for logger in loggers:
        logger.addHandler(handler)
    yield
    for logger in loggers:
        logger.removeHandler(handler)
    st.cache_resource.clear()
    unwanted = [m for m in handler.messages if "ScriptRunContext" not in m]
    assert unwanted == []
