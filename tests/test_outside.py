"""What a person types, in an address or a command, and JSON from outside: a result or one sentence, for any words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
import streamlit
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from pmb import cli, strict
from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.recipes import check_recipe
from pmb.catalog.tasks import TASKS, Task, parse_table
from pmb.errors import BadInput, PmbError
from pmb.lab import listing, queue
from pmb.lab.sources import find_model, find_task
from pmb.lab.store import Store
from pmb.screen import controls, selection
from pmb.settings import Settings
from pmb.spec import Recipe, RunResult, RunSpec
from pmb.strategies import STRATEGIES
from tests.conftest import result, spec

ODD = [
    "",
    "\0",
    "~nobody-here",
    "~" * 300,
    "a" * 5000,
    "../..",
    "/proc/self/mem",
    "csv:",
    "csv:\0",
    "csv:~x?text=",
    "²",
    "٣",
]
WORDS = (
    st.text(max_size=40) | st.sampled_from(ODD) | st.from_regex(r"[\w./-]{1,20}/[\w.-]{1,20}(@\w+)?", fullmatch=True)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FEW = how(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SPEC = spec().to_dict()
MOST_SENTENCE = 6000  # characters: a path may be named


def tried(do: Callable[[], Any]) -> Any:
    """What it gives, or the sentence with which it refuses; any other error is a fault."""
    try:
        return do()
    except PmbError as error:
        said = str(error)
    assert "\n" not in said
    assert 0 < len(said) < MOST_SENTENCE
    return said


@pytest.fixture
def offline(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Settings]:
    """A store, and no child process: what would be looked into is a sentence."""

    def ask(*_: object) -> dict[str, Any]:
        raise BadInput("This would be looked into.")

    monkeypatch.setattr("pmb.lab.executors.ask", ask)
    return store, settings


@FEW
@given(name=WORDS)
@example(name="/root/../root/\0")
def test_any_name_of_a_model_or_task_is_a_row_or_a_sentence(offline: tuple[Store, Settings], name: str) -> None:
    for find in (find_model, find_task):
        assert tried(partial(find, *offline, name))


@FEW
@given(name=WORDS)
def test_a_name_of_a_table_is_read_or_refused(name: str) -> None:
    assert tried(lambda: parse_table(f"csv:{name}"))


class Words(dict[str, str]):
    """As Streamlit's address, where each name stands once."""

    def get_all(self, name: str) -> list[str]:
        """All values of that name."""
        return [self[name]] if name in self else []


@FEW
@given(key=st.sampled_from(controls.SHARED), said=WORDS)
def test_any_word_of_an_address_is_an_option_or_nothing(key: str, said: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streamlit, "query_params", Words({key: said}))
        found = controls._of_address(key)
    if key == "k":
        assert found is None or (isinstance(found, int) and 0 <= found < 1000)
    elif key == "kept":
        assert found is None or (isinstance(found, list) and 0 <= found[0] < 1000)
    elif key == "recipe":
        assert found is None or check_recipe(str(found)) == found
    elif key in controls.OPTIONS:
        assert found is None or found in controls.OPTIONS[key]
    else:
        assert found == said


class Address(dict[str, list[str]]):
    """As Streamlit's, as far as a selection uses it."""

    def get_all(self, name: str) -> list[str]:
        """All values of that name."""
        return self.get(name, [])


class State(dict[str, Any]):
    """As Streamlit's."""


@FEW
@given(
    names=st.lists(WORDS, unique=True, max_size=5),
    asked=st.lists(WORDS, max_size=4),
    rows=st.lists(st.integers(-(2**70), 2**70), max_size=4),
)
def test_any_selection_is_of_rows_that_there_are(names: Sequence[str], asked: list[str], rows: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        address, state = Address({selection.PARAMETER: asked}), State()
        patched.setattr(streamlit, "query_params", address)
        patched.setattr(streamlit, "session_state", state)
        first = selection.selection(names)
        assert first.chosen == tuple(name for name in names if name in asked)
        state[first.key] = {"selection": {"rows": rows}}  # as a browser may send
        assert set(selection.selection(names).chosen) <= set(names)


@FEW
@given(words=WORDS | st.text(alphabet="0123456789, %_'\"\\", max_size=60))
def test_any_search_finds_or_finds_nothing(store: Store, words: str) -> None:
    assert listing.count_runs(store, listing.Filter(words=words, models=(words,), depths=(len(words),))) == 0
    with pytest.raises(BadInput, match="No run begins with"):
        queue.find_key(store, words)


NUMBERS = st.integers(-5, 9).map(str) | st.sampled_from(
    ["9" * 5000, "1e3", "nan", "-0", "", "0,0", "٣", "²,³", "0x1", " 1"]
)
COMMANDS = st.one_of(
    st.tuples(
        st.sampled_from(["plan", "run"]),
        st.just("--strategy"), st.sampled_from([*STRATEGIES, "all"]) | WORDS,
        st.just("--drop"), NUMBERS,
    ),
    st.tuples(st.just("plan"), st.just("--keep"), NUMBERS | WORDS),
    st.tuples(st.just("plan"), st.just("--model"), WORDS, st.just("--keep"), st.just("0")),
    st.tuples(st.just("plan"), st.just("--task"), WORDS, st.just("--drop"), st.just("0")),
    st.tuples(st.just("plan"), st.just("--strategy"), st.just("contribution"), st.just("--threshold"), NUMBERS),
    st.tuples(st.just("run"), st.just("--drop"), st.just("0"), st.just("--seed"), NUMBERS, st.just("--recipe"), WORDS),
    st.tuples(st.just("sweep"), st.just("--no-wait"), st.just("--seeds"), NUMBERS, st.just("--drops"), NUMBERS),
    st.tuples(st.sampled_from(["cancel", "retry"]), WORDS),
    st.tuples(st.just("dashboard"), st.just("--port"), st.sampled_from(["0", "65536", "9" * 99, "x"])),
    st.lists(WORDS, min_size=1, max_size=3).map(tuple),
)  # fmt: skip


@FEW
@given(command=COMMANDS)
def test_any_command_prints_a_result_or_one_sentence(offline: tuple[Store, Settings], command: tuple[str, ...]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pmb.lab.waiting.wait_for", lambda *_: None)
        done = CliRunner().invoke(cli.cli, list(command))
    assert done.exception is None or isinstance(done.exception, (SystemExit, PmbError)), done.exc_info


def nested(depth: int) -> str:
    """JSON of so many lists within each other."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("NaN", "It is no JSON: invalid character"),
        ("[1e999]", r"It is no JSON: Number out of range"),
        ("1" * 5000, "It is no JSON: Integer value out of range"),
        ('"\\ud800"', "It is no JSON"),
        ("{} {}", "It is no JSON"),
        (b'"\xff"', "It is no JSON"),
        (nested(50_000), "It is no JSON that can be read: it is nested too deeply"),
    ],
)
def test_what_is_no_json_is_named(content: str | bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        strict.parse(content, "It")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": "0"}, r"expected `int`, got `str` at seed\.$"),
        ({"seed": 10**30}, "Seed 1000000000000000000000000000000 is not allowed"),
        ({"kept_layers": [0, 1.5]}, r"expected `int`, got `float` at kept_layers\[1\]"),
        ({"kept_layers": [9]}, "Kept layer 9 is outside the model"),
        ({"kept_layers": [True]}, "expected `int`, got `bool`"),
        ({"recipe": {}}, "missing required field `name` at recipe"),
        ({"recipe": SPEC["recipe"] | {"epochs": None}}, "expected `int`, got `null` at recipe.epochs"),
        ({"recipe": SPEC["recipe"] | {"more": 1}}, "it has 'more', which is not known here"),
        ({"more": 1}, "it has 'more', which is not known here"),
        ({"procedure": "pray"}, "Unknown procedure 'pray'"),
    ],
)
def test_a_spec_that_was_not_written_here_is_refused_with_the_place(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=f"(?i){sentence}"):
        RunSpec.from_dict(SPEC | change)
    for name in set(SPEC) - {"procedure"}:
        with pytest.raises(BadInput, match=f"missing required field `{name}`"):
            RunSpec.from_dict({key: value for key, value in SPEC.items() if key != name})


@FEW
@given(
    name=st.sampled_from([*SPEC, "more"]), value=JSON, inner=st.sampled_from(list(SPEC["recipe"])), deep=st.booleans()
)
def test_any_json_in_a_spec_is_a_spec_that_survives_or_a_sentence(
    name: str, value: Any, inner: str, deep: bool
) -> None:
    values = SPEC | ({"recipe": SPEC["recipe"] | {inner: value}} if deep else {name: value})
    found = tried(lambda: RunSpec.from_dict(values))
    if isinstance(found, RunSpec):
        assert isinstance(found.recipe, Recipe)
        if not any(isinstance(v, float) and math.isnan(v) for v in found.to_dict()["recipe"].values()):
            assert RunSpec.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert len(found.key) == 64


@pytest.mark.parametrize(
    ("form", "whole"), [(RunResult, result()), (BaseModel, MODELS["minilm-l6"]), (Task, TASKS["stsb"])]
)
@FEW
@given(data=st.data())
def test_any_json_in_another_form_is_read_or_refused(form: Any, whole: Any, data: st.DataObject) -> None:
    values = asdict(whole)
    name = data.draw(st.sampled_from(sorted(values)))
    value = data.draw(JSON)
    found = tried(lambda: form.from_dict(values | {name: value}))
    assert isinstance(found, (form, str))


def test_halves_of_surrogate_pairs_are_let_through_where_they_are_asked_for() -> None:
    """Names of files that are no UTF-8 have them, and nothing else is allowed with them."""
    assert strict.parse('["caf\\udce9.csv"]', "It", halves=True) == ["caf\udce9.csv"]
    for content in ('["\\udce9", NaN]', '["\\udce9"', '"\\udce9"' + nested(50_000)):
        with pytest.raises(BadInput, match="^It is no JSON"):
            strict.parse(content, "It", halves=True)
