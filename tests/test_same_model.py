"""A model of the catalog is the same model in whatever place its files are; runs are shared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.tasks import TASKS
from pmb.engine import multipart, run
from pmb.errors import WeightsMissing
from pmb.lab import queue
from pmb.lab.plan import plan_strategy, spec_of, with_data
from pmb.lab.sources import find_model, known_models, rows_of
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import RunSpec
from tests.conftest import result
from tests.parts import Parts, add_tokenizer, in_parts, point_pip_to, tiny_mpnet

TASK = TASKS["rotten-tomatoes"]


@pytest.fixture(scope="module")
def a_model(assets_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mpnet")
    tiny_mpnet(folder)
    add_tokenizer(folder, assets_folder)
    return folder


@pytest.fixture
def parts(a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The model as a row of the catalog; what a child finds out is found out in this process."""
    made = in_parts(tmp_path, a_model)
    point_pip_to(made.index, monkeypatch)
    monkeypatch.setitem(MODELS, made.row.id, made.row)

    def ask(job: dict[str, Any], *_: object) -> dict[str, Any]:
        return {"row": asdict(run.inspect_model(BaseModel.from_dict(job["row"]), Path(job["assets"]))), "notes": []}

    monkeypatch.setattr("pmb.lab.executors.ask", ask)
    return made


def spec_in(store: Store, settings: Settings, name: str) -> RunSpec:
    model = find_model(store, settings, name)
    return spec_of(plan_strategy(store, settings, model, TASK, "top", 2), TASK, "quick", 0)


def test_a_folder_with_the_same_weights_is_the_catalogs_model(
    store: Store, settings: Settings, parts: Parts, a_model: Path
) -> None:
    model = find_model(store, settings, str(a_model))
    assert (model.id, model.revision, model.folder) == (parts.row.id, parts.row.revision, str(a_model))
    assert spec_in(store, settings, str(a_model)).key == spec_in(store, settings, parts.row.id).key
    assert rows_of(store, settings, spec_in(store, settings, parts.row.id))[0] == model  # its files serve the catalog's
    assert run.model_folder(model, settings.assets) == a_model
    assert known_models(store).count(parts.row.id) == 1


def test_downloaded_weights_are_taken_before_a_folders(
    store: Store, settings: Settings, parts: Parts, a_model: Path
) -> None:
    find_model(store, settings, str(a_model))
    multipart.fetch(settings.assets, parts.row)
    assert find_model(store, settings, parts.row.id) == parts.row


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def changed(folder: Path) -> None:
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")


@pytest.mark.parametrize("spoil", [gone, changed])
def test_a_folder_that_is_gone_or_changed_serves_no_run(
    store: Store, settings: Settings, parts: Parts, a_model: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(a_model, copy)
    find_model(store, settings, str(copy))
    spoil(copy)
    with pytest.raises(WeightsMissing, match="Tiny MPNet are not on this machine; `python -m pmb assets --model tiny"):
        rows_of(store, settings, spec_in(store, settings, parts.row.id))


def test_other_weights_are_another_model(
    store: Store, settings: Settings, parts: Parts, a_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, parts.row.id, replace(parts.row, weights_sha256="0" * 64))
    assert find_model(store, settings, str(a_model)).id == str(a_model)


def test_a_hub_copy_that_was_looked_up_is_the_catalogs_model_at_its_commit(
    store: Store, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for the Hub; test_hub.py asks a real one for the hash."""
    found = {"revision": "c0ffee", "weights_sha256": parts.row.weights_sha256}
    found |= {name: getattr(parts.row, name) for name in ("architecture", "num_hidden_layers", "parameters")}
    answer = {"row": {**asdict(BaseModel("some/mpnet", "mpnet", "", 0, None, "", "", hub="some/mpnet")), **found}}
    monkeypatch.setattr("pmb.lab.executors.ask", lambda job, *_: answer | {"notes": []})
    model = find_model(store, settings, "some/mpnet")
    assert (model.id, model.revision) == (parts.row.id, parts.row.revision)
    assert (model.hub, model.commit, model.parts) == ("some/mpnet", "c0ffee", "")
    assert rows_of(store, settings, spec_in(store, settings, parts.row.id))[0] == model


def test_a_run_without_weights_is_refused_before_it_is_queued(store: Store, settings: Settings, parts: Parts) -> None:
    spec = spec_in(store, settings, parts.row.id)  # its layers are known
    with pytest.raises(WeightsMissing, match="are not on this machine"):
        with_data(store, settings, TASK, lambda _: [spec], lambda _: None)
    with pytest.raises(WeightsMissing, match="are not on this machine"):
        plan_strategy(store, settings, MODELS[parts.row.id], TASK, "contribution", 2)


def test_a_finished_run_is_shown_without_the_weights(store: Store, settings: Settings, parts: Parts) -> None:
    spec = spec_in(store, settings, parts.row.id)
    queue.submit(store, [spec])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.finish(store, claim.key, "worker", result())
    assert with_data(store, settings, TASK, lambda _: [spec], lambda _: None) == [spec]
