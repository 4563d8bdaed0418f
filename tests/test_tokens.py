"""Token ids on disk: the same again, tokenized once, mended when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pmb.engine.batches import Encoded
from pmb.engine.tokens import remembered
from tests.conftest import fill

PARTS = {
    "train": Encoded(((101, 7, 102), (101, 102)), (1, 0), 0),
    "dev": Encoded(((101, 30521, 9, 102),), (1,), 0),
}


class Counted:
    """Tokenizes, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Encoded]:
        self.times += 1
        return PARTS


def test_the_second_time_the_tokens_come_from_the_file(tmp_path: Path) -> None:
    encode = Counted()
    first = remembered(tmp_path / "tokens", {"model": "a"}, encode)
    again = remembered(tmp_path / "tokens", {"model": "a"}, encode)
    assert first == again == PARTS
    assert encode.times == 1


def test_another_identity_has_tokens_of_its_own(tmp_path: Path) -> None:
    encode = Counted()
    identities: list[dict[str, object]] = [{"model": "a", "max_length": 64}, {"model": "a", "max_length": 128}, {}]
    for identity in identities:
        remembered(tmp_path, identity, encode)
    assert encode.times == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_written_again(tmp_path: Path) -> None:
    encode = Counted()
    remembered(tmp_path, {}, encode)
    (file,) = tmp_path.iterdir()
    for damage in (b"", file.read_bytes()[:50]):
        file.write_bytes(damage)
        assert remembered(tmp_path, {}, encode) == PARTS
    assert encode.times == 3
    assert remembered(tmp_path, {}, encode) == PARTS
    assert encode.times == 3


def test_a_full_disk_costs_the_next_run_its_tokens_and_this_one_nothing(
    tiny_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tiny_disk)
    encode = Counted()
    assert remembered(tiny_disk / "tokens", {}, encode) == PARTS
    assert remembered(tiny_disk / "tokens", {}, encode) == PARTS
    assert encode.times == 2
    assert list((tiny_disk / "tokens").iterdir()) == []
    assert "The tokens are not kept" in capsys.readouterr().err
