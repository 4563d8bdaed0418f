"""A short round of the fuzzer, always the same; `python -m tests.fuzz` goes on as long as one likes."""

from __future__ import annotations

import pytest

from tests.fuzz import TARGETS, Fault, Target, fuzz

ROUNDS = {"table": 100, "glue": 150, "folder": 20, "store": 20}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.slow
def test_files_spoilt_at_random_end_in_a_result_or_a_sentence(target: str) -> None:
    ended = fuzz(target, seed=0, rounds=ROUNDS[target])
    assert set(ended) == {"a result", "a sentence"}


def test_the_fuzzer_finds_what_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def use_badly(folder: object) -> object:
        yield lambda: 1 / 0

    whole = TARGETS["glue"]
    monkeypatch.setitem(TARGETS, "glue", Target(whole.make, whole.spoil, use_badly))  # type: ignore[arg-type]
    with pytest.raises(Fault, match="glue, seed 7, round 3: ZeroDivisionError"):
        fuzz("glue", seed=7, first=3, rounds=1)
