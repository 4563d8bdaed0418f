"""Run keys: the same question has the same key, another question another."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmb.errors import BadInput
from pmb.spec import RunResult, RunSpec
from tests.conftest import TINY, result, spec


@given(st.sets(st.integers(0, 5), min_size=1), st.integers(0, 2**31 - 1))
def test_a_spec_survives_json(kept: set[int], seed: int) -> None:
    before = spec(tuple(sorted(kept)), seed)
    after = RunSpec.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after == before
    assert after.key == before.key


def test_everything_that_changes_a_result_changes_the_key() -> None:
    base = spec()
    others = [
        replace(base, model="other"),
        replace(base, model_revision="other"),
        replace(base, task="other"),
        replace(base, task_revision="other"),
        replace(base, kept_layers=(1,)),
        replace(base, seed=1),
        replace(base, recipe=replace(TINY, epochs=2)),
    ]
    assert len({s.key for s in [base, *others]}) == 8


def test_a_recipes_name_is_a_label_and_not_part_of_the_key() -> None:
    assert spec(recipe=replace(TINY, name="another name")).key == spec().key


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(BadInput, match=str(seed)):
        spec(seed=seed)


def test_a_result_survives_json_and_a_later_version_with_more_fields() -> None:
    values = json.loads(json.dumps(asdict(result()))) | {"something_new": 1}
    assert RunResult.from_dict(values) == result()
