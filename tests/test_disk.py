"""What is kept on the disk: counted by kind, and of the caches the oldest go first."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pmb.errors import BadInput
from pmb.lab import disk
from pmb.settings import Settings, from_environment

RESULTS = ("lab.sqlite", "lab.sqlite-wal", "assets/model.whl", "uploads/abc/table.csv")


def put(settings: Settings, name: str, size: int, age_seconds: float = 0.0) -> Path:
    path = settings.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    for one in (path, path.parent):
        os.utime(one, (time.time() - age_seconds,) * 2)
    return path


def names(settings: Settings) -> set[str]:
    return {str(path.relative_to(settings.home)) for path in settings.home.rglob("*") if path.is_file()}


def test_everything_is_counted_by_its_kind(settings: Settings) -> None:
    for i, name in enumerate(
        (*RESULTS, "assets/tokens/a.safetensors", "checkpoints/key/cut.safetensors", "weights/k/m")
    ):
        put(settings, name, 10**i)
    found = disk.usage(settings)
    assert (found.store, found.assets, found.uploads) == (11, 100, 1_000)
    assert (found.tokens, found.checkpoints, found.weights, found.caches) == (10_000, 100_000, 1_000_000, 1_110_000)
    assert "caches 1 of at most 10,000 MB" in disk.usage_line(found)
    assert found.free > 0


def test_a_home_that_is_not_there_holds_nothing(settings: Settings) -> None:
    assert disk.usage(settings).caches == 0
    assert disk.trim(settings, ()) == 0


def test_the_longest_of_no_use_goes_first_and_results_never(settings: Settings) -> None:
    for name in RESULTS:
        put(settings, name, 1_000, age_seconds=10_000)
    put(settings, "assets/tokens/old.safetensors", 100, age_seconds=300)
    put(settings, "weights/older/model.safetensors", 100, age_seconds=400)
    put(settings, "weights/new/model.safetensors", 100, age_seconds=100)
    put(settings, "checkpoints/waiting/cut.safetensors", 100, age_seconds=500)
    everything = names(settings)
    assert disk.trim(replace(settings, cache_limit=400), {"waiting"}) == 0
    assert names(settings) == everything
    assert disk.trim(replace(settings, cache_limit=250), {"waiting"}) == 200
    assert names(settings) == {*RESULTS, "weights/new/model.safetensors", "checkpoints/waiting/cut.safetensors"}
    disk.trim(replace(settings, cache_limit=0), {"waiting"})
    assert names(settings) == {*RESULTS, "checkpoints/waiting/cut.safetensors"}


def test_checkpoints_of_ended_runs_and_what_killed_writers_left_go_at_once(settings: Settings) -> None:
    put(settings, "checkpoints/ended/cut.safetensors", 100)
    put(settings, "checkpoints/goes-on/cut.safetensors", 100)
    put(settings, "assets/tokens/a.safetensors.1-ab.part", 100, age_seconds=disk.STALE_SECONDS + 1)
    put(settings, "assets/tokens/b.safetensors.1-ab.part", 100)
    assert disk.trim(settings, {"goes-on"}) == 200
    assert names(settings) == {"checkpoints/goes-on/cut.safetensors", "assets/tokens/b.safetensors.1-ab.part"}


@pytest.mark.parametrize(
    ("given", "limit"), [("", 10**10), ("0", 0), ("500MB", 5 * 10**8), ("1.5 gb", 1_500_000_000), ("77", 77)]
)
def test_the_limit_is_a_size(settings: Settings, monkeypatch: pytest.MonkeyPatch, given: str, limit: int) -> None:
    monkeypatch.setenv("PMB_CACHE_LIMIT", given)
    assert from_environment().cache_limit == limit


@pytest.mark.parametrize(
    ("variable", "given"), [("PMB_CACHE_LIMIT", "lots"), ("PMB_CACHE_LIMIT", "-1GB"), ("PMB_CHECKPOINT_SECONDS", "nan")]
)
def test_a_setting_that_makes_no_sense_is_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, given: str
) -> None:
    monkeypatch.setenv(variable, given)
    with pytest.raises(BadInput, match=rf"{variable} is '{given}'; a (size such as 500MB|number of seconds)"):
        from_environment()
