"""Kept models answer what is typed: the same as transformers would, with a classifier on each layer."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import pipeline

from pmb.bounds import MOST_TRIED, MOST_TRIED_CHARACTERS
from pmb.catalog.tasks import TASKS
from pmb.charts import tried as charts
from pmb.charts.style import THEMES
from pmb.engine import export, readers, trying
from pmb.engine.batches import encode
from pmb.engine.examples import Example
from pmb.engine.probe import fit_linear
from pmb.engine.surgery import cut, label_settings
from pmb.errors import BadInput, PmbError, RunFailed
from pmb.insight import tried
from pmb.lab import queue, tries
from pmb.lab.dev import save_dev_labels
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import Tried
from tests.app import FULL, TOP_2, WHOLE, finish, opened, words
from tests.architectures import ARCHITECTURES
from tests.conftest import spec
from tests.test_export import LABELS, tokenizer

TASK = TASKS["rotten-tomatoes"]
KEPT = (0, 2)
TEXTS = (("w10 w11 w12",), ("w20 w21 w22 w23 w24 w25 w26 w27 w28 w29 w30 w31 w32 w33 w34 w35 w36 w37",))
MAX_LENGTH = 12


@pytest.mark.parametrize("labels", [[0, 1] * 30, [0, 1, 2] * 20, [0, 2] * 30, [1] * 60, [0.5, 1.5, 4.0] * 20])
def test_a_reader_is_the_classifier_of_the_probes_as_one_map(labels: list[float]) -> None:
    """With two classes and with three, of which one may have no example, with one alone, and with numbers."""
    states = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    states[:, 0] += np.asarray(labels)
    num_classes = 0 if isinstance(labels[0], float) else 3
    reader = readers.fit_reader(states, labels, num_classes)
    found = reader.read(states)
    if num_classes:
        assert found.shape == (60, 3)
        assert np.allclose(found.sum(1), 1, atol=1e-5)
        assert found.argmax(1).tolist() == fit_linear(states, labels)(states)
    else:
        assert np.allclose(found[:, 0], fit_linear(states, labels)(states), atol=1e-4)


def test_readers_come_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = [readers.Reader(np.full((2, 3), i, np.float32), np.full(2, i, np.float32)) for i in range(12)]
    readers.write_readers(kept, tmp_path)
    back = readers.open_readers(tmp_path)
    assert [reader.bias.tolist() for reader in back] == [[i, i] for i in range(12)]
    assert tries.READERS == readers.FILE
    assert tries.MADE == export.MADE


def keep_small(architecture: Any, folder: Path) -> None:
    """A small random model of two layers as a run's kept weights, with what reads its layers."""
    model = cut(architecture.build(), KEPT)
    for name, value in label_settings(LABELS).items():
        setattr(model.config, name, value)
    words_of = tokenizer()
    words_of.padding_side = "left" if architecture.name == "xlnet" else "right"  # as its own has it
    export.save(model, words_of, replace(TASK, labels=LABELS), MAX_LENGTH, folder)
    (folder / export.MADE).write_text("{}", encoding="utf-8")
    train = encode(words_of, [Example((f"w{i} w{i + 1}",), i % 2) for i in range(10, 40)], MAX_LENGTH)
    readers.write_readers(readers.fit_readers(model.eval(), train, 2, torch.device("cpu")), folder)


@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_answers_are_those_of_transformers_and_name_what_was_cut_off(name: str, tmp_path: Path) -> None:
    (architecture,) = [one for one in ARCHITECTURES if one.name == name]
    folder = tmp_path / "weights"
    keep_small(architecture, folder)
    (found,) = trying.answers([folder], [MAX_LENGTH], TEXTS, 1)
    read = [" ".join(parts[0].split()[: MAX_LENGTH - 2]) for parts in TEXTS]  # two tokens are the model's own
    plain: Any = pipeline("text-classification", model=str(folder), top_k=None)(read)
    for answer, expected in zip(found.answers, plain, strict=True):
        by_label = {one["label"]: one["score"] for one in expected}
        assert answer == pytest.approx([by_label[label] for label in LABELS], abs=1e-4)
    assert found.cut_off == (False, True)
    assert [len(layers) for layers in found.layers] == [len(KEPT)] * 2
    assert all(sum(values) == pytest.approx(1, abs=1e-4) for layers in found.layers for values in layers)
    assert found.seconds > 0
    assert Tried.from_dict(asdict(found)) == found


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("",), "Nothing is typed yet"),
        (("  \n\n ",), "Nothing is typed yet"),
        (("a\n" * (MOST_TRIED + 1),), "21 sentences are typed; at most 20"),
        (("a" * (MOST_TRIED_CHARACTERS + 1),), "A sentence has 10,001 characters; at most 10,000"),
        (("a", ""), "Both texts of a pair are wanted"),
        (("a\nb", "c"), "There are 2 first texts and 1 second ones"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(typed: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        tries.typed_texts(*typed)


def test_what_is_typed_is_a_text_a_line() -> None:
    assert tries.typed_texts(" one \n\n <b>two</b>\n") == (("one",), ("<b>two</b>",))
    assert tries.typed_texts("a\nb", "c\nd") == (("a", "c"), ("b", "d"))
    with pytest.raises(BadInput, match="wants two texts, since it is about pairs, and 1 are given: 'alone'"):
        tries.check_texts([("alone",)], pair=True)
    with pytest.raises(BadInput, match="wants one text, and 2 are given: 'a / b'"):
        tries.check_texts([("a", "b")], pair=False)
    with pytest.raises(BadInput, match="A sentence is empty"):
        tries.check_texts([(" ",)], pair=False)


def test_only_finished_runs_of_one_task_answer(store: Store, settings: Settings) -> None:
    finish(store, spec(WHOLE, 0, FULL), 0.8)
    done = spec(WHOLE, 0, FULL).key
    other = replace(spec(TOP_2, 0, FULL), task="sst2")
    finish(store, other, 0.7)
    failed = spec((0,), 0, FULL)
    queue.submit(store, [failed])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, failed.key, "worker", "broken", "")

    assert [one.max_length for one in tries.subjects_of(store, settings, [done])] == [FULL.max_length]
    with pytest.raises(RunFailed, match=f"{failed.key[:12]} failed and has no model"):
        tries.subjects_of(store, settings, [done, failed.key])
    with pytest.raises(BadInput, match="not of rotten-tomatoes and sst2"):
        tries.subjects_of(store, settings, [done, other.key])
    with pytest.raises(BadInput, match="0 runs are asked for; 1 to 3"):
        tries.subjects_of(store, settings, [])
    with pytest.raises(BadInput, match="are not kept"):
        tries.answers(tries.Tries(), store, settings, [done], [("a",)], pair=False)


def test_the_child_is_let_go_where_it_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "CHILD_COMMAND", ["python3", "-c", "import sys; sys.exit(3)"])
    held = tries.Tries()
    for _ in range(2):
        with pytest.raises(PmbError, match="exit code 3"):
            held.ask({"kind": "try"})
    held.end()


A = Tried(((0.1, 0.9), (0.8, 0.2)), (((0.4, 0.6), (0.2, 0.8)), ((0.5, 0.5), (0.7, 0.3))), (False, False), 0.02)
B = Tried(((0.3, 0.7), (0.4, 0.6)), (((0.6, 0.4),), ((0.5, 0.5),)), (False, True), 0.01)
NAMES = ("rotten", "fresh")


def test_answers_in_words() -> None:
    one = {name: replace(side, answers=side.answers[:1]) for name, side in (("A", A), ("B", B))}
    assert tried.answer_sentence(one, NAMES) == "The same answer: A fresh, 90 %, B fresh, 70 %."
    second = {name: replace(side, answers=side.answers[1:]) for name, side in (("A", A), ("B", B))}
    assert tried.answer_sentence(second, NAMES) == "They differ: A rotten, 80 %, B fresh, 60 %."
    assert tried.answer_sentence({"A": A, "B": B}, NAMES) == "A and B differ on 1 of 2 sentences."
    assert tried.answer_sentence({"A": A, "B": A}, NAMES) == "A and B give the same answer to each of 2 sentences."
    assert tried.answer_sentence({"A": A}, NAMES) == "A answers 2 sentences."
    numbers = {"A": replace(A, answers=((1.0,), (2.0,))), "B": replace(B, answers=((1.5,), (2.1,)))}
    assert tried.answer_sentence(numbers, ()) == "A and B answer 2 sentences, at most 0.50 apart."
    table = tried.answers_table({"A": A, "B": B}, [("x", "y"), ("z", "u")], NAMES, [1, None])
    assert table.fillna("").to_dict("list") == {
        "sentence": ["x / y", "z / u"],
        "true": ["fresh", ""],
        "A": ["fresh, 90 %", "rotten, 80 %"],
        "B": ["fresh, 70 %", "fresh, 60 %"],
    }


def test_charts_keep_to_their_schema_and_say_what_they_show() -> None:
    forming = tried.forming({"A": A, "B": B}, 0, {"A": (0, 2), "B": (1,)}, 1)
    assert forming["value"].tolist() == [0.6, 0.8, 0.9, 0.4, 0.7]
    assert forming["layer"].tolist() == ["0", "2", "", "1", ""]
    shares = tried.probabilities({"A": A, "B": B}, 0, NAMES)
    for theme in THEMES.values():
        charts.forming_chart(forming, "Probability of “fresh”", True, theme).to_dict()
        charts.probability_chart(shares, theme).to_dict()
    assert "B from 0.40 to 0.40, answers 0.70" in charts.forming_alt_text(forming, "Probability")
    assert charts.probability_alt_text(shares).startswith("Probabilities: A rotten 10 %, A fresh 90 %")


# =============================================================================
# The page
# =============================================================================


@pytest.fixture
def two(scored: Store) -> Store:
    """The whole model and a cut, which part on no dev sentence."""
    save_dev_labels(scored, TASK, [0, 1] * 3000)
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    finish(scored, spec(TOP_2, 0, FULL), 0.7)
    return scored


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
class TestPage:
    """The page in its states, with a stand-in for the process that answers."""

    def test_an_empty_store_says_what_to_do(self, scored: Store) -> None:
        assert "No model has been fine-tuned on this task yet" in words(opened("try"))

    def test_weights_that_are_not_kept_can_be_made_again(self, two: Store) -> None:
        app = opened("try")
        assert "A and B cannot answer yet" in words(app)
        assert [button.label for button in app.button if "again" in button.label] == ["Make A and B again"]

    def test_who_may_only_look_is_told_who_can(self, two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PMB_READ_ONLY", "1")
        app = opened("try")
        assert "Who may run things can make it again" in words(app)
        assert not [button for button in app.button if "again" in button.label]

    def test_typed_sentences_are_answered_and_bad_ones_named(self, two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tries, "is_kept", lambda settings, key: True)
        monkeypatch.setattr(tries, "again_sentence", lambda *given: "Made again it gives the same answers.")
        layers = Tried(A.answers, tuple(((0.4, 0.6),) * 6 for _ in range(2)), (False, True), 0.02)
        cut_layers = Tried(B.answers, tuple(((0.6, 0.4),) * 4 for _ in range(2)), (False, False), 0.01)
        monkeypatch.setattr(tries, "answers", lambda *given, **more: [layers, cut_layers])
        app = opened("try")
        assert "Type a sentence and press Answer" in words(app)
        type_in(app, "good\n<b>bad</b> [x](y)")
        said = words(app)
        assert "A and B differ on 1 of 2 sentences" in said
        assert "its end was cut off" in said
        assert len(app.get("vega_lite_chart")) == 2
        assert app.dataframe[0].value["sentence"].tolist() == ["good", "<b>bad</b> [x](y)"]
        type_in(app, "x" * 100_000)
        assert "A sentence has 100,000 characters; at most 10,000 are read." in words(app)


def type_in(app: AppTest, text: str) -> None:
    """Type sentences and press Answer."""
    app.text_area(key="typed").set_value(text)
    app.button(key="answer").click().run()
    assert not app.exception, app.exception
