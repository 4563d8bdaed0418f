"""GLUE's tasks from the Hub, by the real huggingface_hub and datasets against a small Hub on loopback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
import pytest

from pmb.catalog.tasks import TASKS
from pmb.engine.glue import LAYOUTS, load_glue, load_hub_glue
from pmb.errors import BadInput
from pmb.lab.store import Store
from pmb.settings import REPOSITORY, Settings
from tests.conftest import spec
from tests.hub_server import Hub, Repository, serving
from tests.test_worker import say_it_is_timed

ROWS = 40


def parquet(task: str, name: str, rows: int = ROWS, **changes: Any) -> bytes:
    """Rows as the Hub has them: texts, a label with names or a float32, and an index."""
    layout = LAYOUTS[task]
    texts = layout.hub_texts or layout.texts
    numbers = range(rows)
    columns: dict[str, Any] = {
        text: [f" {text} {name} {i} is {'fine' if i % 2 else 'bad'} " for i in numbers] for text in texts
    }
    kinds: dict[str, Any] = {text: datasets.Value("string") for text in texts}
    if layout.coding:
        columns["label"] = [i % len(layout.coding) for i in numbers]
        kinds["label"] = datasets.ClassLabel(names=list(layout.hub_names))
    else:
        columns["label"] = [round(5 * i / rows, 3) for i in numbers]
        kinds["label"] = datasets.Value("float32")
    columns |= {"idx": list(numbers)} | changes.pop("columns", {})
    kinds |= {"idx": datasets.Value("int32")} | changes.pop("kinds", {})
    packed = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=datasets.Features({key: kinds[key] for key in columns})).to_parquet(
        packed
    )
    return packed.getvalue()


def parts_of(task: str) -> list[str]:
    return ["train", *(Path(file).stem.replace("dev", "validation") for _, file in LAYOUTS[task].dev)]


def files_of(task: str) -> dict[str, bytes]:
    return {f"{task}/{part}-00000-of-00001.parquet": parquet(task, part) for part in parts_of(task)}


def laid_down(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("task", LAYOUTS)
def test_every_task_is_read_from_the_hubs_files(task: str, tmp_path: Path) -> None:
    found = load_hub_glue(task, laid_down(tmp_path, files_of(task)))
    assert (len(found.train), len(found.dev)) == (ROWS, ROWS)
    assert set(found.more_dev) == ({"mismatched"} if task == "mnli" else set())
    assert {len(example.texts) for example in found.dev} == {1 + TASKS[task].pair}
    assert all(text == text.strip() for example in found.dev for text in example.texts)
    if TASKS[task].labels:
        assert {example.label for example in found.dev} == set(range(len(TASKS[task].labels)))
    else:
        assert [example.label for example in found.dev] == [round(5 * i / ROWS, 3) for i in range(ROWS)]


def test_the_same_pairs_in_both_layouts_are_the_same_data(tmp_path: Path) -> None:
    official = tmp_path / "STS-B"
    official.mkdir()
    for part, file in (("train", "train.tsv"), ("validation", "dev.tsv")):
        lines = ["index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"]
        for i in range(ROWS):
            words = f"{part} {i} is {'fine' if i % 2 else 'bad'}"
            lines.append(f"{i}\tg\tf\ty\t{i}\ts\ts\tsentence1 {words}\tsentence2 {words}\t{5 * i / ROWS:.3f}")
        (official / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert load_hub_glue("stsb", laid_down(tmp_path, files_of("stsb"))) == load_glue("stsb", official)


def test_rows_without_a_label_are_left_out_and_named(tmp_path: Path) -> None:
    labels = {"label": [-1, *(i % 2 for i in range(ROWS - 1))]}
    files = files_of("rte") | {"rte/train-00000-of-00001.parquet": parquet("rte", "train", columns=labels)}
    found = load_hub_glue("rte", laid_down(tmp_path, files))
    assert len(found.train) == ROWS - 1
    assert found.notes == ("train-00000-of-00001.parquet: left out row 1, which has no label.",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PAR1 and nothing more", "cannot be read; delete it, so that it is fetched again"),
        (parquet("cola", "train"), "has no column 'sentence1'; it has sentence, label, idx"),
        (
            parquet("rte", "train", kinds={"label": datasets.ClassLabel(names=["not_entailment", "entailment"])}),
            "has the labels not_entailment, entailment; entailment, not_entailment are expected",
        ),
        (parquet("rte", "train", columns={"label": [-1] * ROWS}), "has no examples"),
    ],
)
def test_a_file_that_is_not_as_expected_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    files = files_of("rte") | {"rte/train-00000-of-00001.parquet": content}
    with pytest.raises(BadInput, match=sentence):
        load_hub_glue("rte", laid_down(tmp_path, files))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub with two tasks of GLUE; of WNLI the dev file is missing."""
    files = files_of("rte") | files_of("mnli")
    files["wnli/train-00000-of-00001.parquet"] = parquet("wnli", "train")
    with serving({"datasets/nyu-mll/glue": Repository(files)}) as running:
        yield running


def pmb(hub_url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {"HF_ENDPOINT": hub_url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pmb", *arguments],
        cwd=REPOSITORY,
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


RUN = ("run", "--strategy", "top", "--drop", "5", "--recipe", "quick", "--json")


@pytest.mark.slow
def test_a_task_is_fetched_once_pinned_and_then_asked_for_no_more(
    hub: Hub, home_with_assets: Settings, store: Store, tmp_path: Path
) -> None:
    say_it_is_timed(store, spec((0,)))
    first = pmb(hub.url, tmp_path, *RUN, "--task", "mnli")
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    assert (answer["state"], answer["metric"]) == ("done", "accuracy")
    assert [score["metric"] for score in answer["scores"]] == ["accuracy", "accuracy, mismatched"]
    assert hub.asked_for("mnli/") == [0, 0, 0]
    assert not hub.asked_for("rte/")
    asked = len(hub.requests)
    assert json.loads(pmb(hub.url, tmp_path, *RUN, "--task", "mnli").stdout)["cached"]
    again = json.loads(pmb(hub.url, tmp_path, *RUN, "--task", "mnli", "--seed", "1").stdout)
    assert (again["state"], again["cached"]) == ("done", False)
    assert len(hub.requests) == asked


@pytest.mark.slow
def test_what_cannot_be_fetched_is_one_sentence_and_what_is_shipped_needs_no_network(
    hub: Hub, home_with_assets: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(url: str, task: str) -> str:
        ended = pmb(url, tmp_path, *RUN, "--task", task)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "Traceback" not in ended.stderr
        return ended.stderr.splitlines()[-1]  # before it, how far the download is and what is waited for

    way_out = "set PMB_GLUE_DIR to a folder in the official GLUE layout"
    nowhere = "http://127.0.0.1:9"
    unreachable = refused(nowhere, "rte")
    assert "The Hub cannot be reached for nyu-mll/glue" in unreachable
    assert way_out in unreachable
    assert f"nyu-mll/glue has no file wnli/validation*.parquet on the Hub; {way_out}" in refused(hub.url, "wnli")
    hub.repositories["datasets/nyu-mll/glue"].gated = True
    assert "nyu-mll/glue is gated: accept its terms" in refused(hub.url, "rte")
    monkeypatch.delenv("PMB_SHIPPED")
    shipped = pmb(
        nowhere,
        tmp_path,
        "run",
        "--strategy",
        "top",
        "--drop",
        "3",
        "--recipe",
        "first-2000",
        "--json",
        "--task",
        "cola",
    )
    assert json.loads(shipped.stdout)["cached"]
