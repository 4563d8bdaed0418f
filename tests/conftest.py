"""Fixtures: a home of its own for every test, the embedded assets, small models with random weights."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.engine import assets
from pmb.lab.plan import scores_identity
from pmb.lab.store import Store, open_store, save_layer_scores
from pmb.settings import REPOSITORY, Settings, from_environment
from pmb.spec import Recipe, RunResult, RunSpec, Score

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


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty PMB_HOME, without shipped results."""
    monkeypatch.setenv("PMB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PMB_SHIPPED", str(tmp_path / "nothing-shipped"))
    monkeypatch.delenv("PMB_DATABASE_URL", raising=False)
    home = tmp_path / "home"
    return Settings(home, "", "local", tmp_path / "nothing-shipped", None)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """An empty store in that home."""
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
        predictions=(0, 1) * 1000,
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
