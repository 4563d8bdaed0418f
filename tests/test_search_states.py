"""Explore's search in all its states, of made-up runs in which the right answer is known, and its report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Expander

from pmb import report
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import queue, searches
from pmb.lab.dev import save_dev_labels
from pmb.lab.plan import scores_identity
from pmb.lab.searches import Aim, Limit
from pmb.lab.store import Store, open_store, save_layer_scores
from pmb.report import Chart
from pmb.settings import Settings
from tests.app import click, opened, words
from tests.conftest import result, spec

pytestmark = pytest.mark.slow

PART = "Find the smallest model"
MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
SENTENCES = 400
LABELS = tuple(int(label) for label in np.random.default_rng(0).integers(0, 2, SENTENCES))
HARDNESS = np.random.default_rng(1).random(SENTENCES)
TRUE = {6: 0.90, 5: 0.89, 4: 0.88, 3: 0.70, 2: 0.65, 1: 0.60}  # accuracy by depth


def finish_next(store: Store) -> None:
    """Do the longest-waiting run, as a worker would, with made-up answers."""
    claim = queue.claim(store, "worker")
    assert claim is not None
    rng = np.random.default_rng(int(claim.key[:8], 16))
    right = np.where(rng.random(SENTENCES) < 0.05, rng.random(SENTENCES), HARDNESS) < TRUE[len(claim.spec.kept_layers)]
    answers = tuple(int(a) for a in np.where(right, LABELS, 1 - np.array(LABELS)))
    queue.finish(store, claim.key, "worker", replace(result(float(right.mean())), predictions=answers))


def fail_next(store: Store) -> None:
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "The *loss* is not a number.", "")


def begun(store: Store, settings: Settings, recipe: str, aim: Aim, limit: Limit) -> str:
    key = searches.start(store, settings, MODEL, TASK, recipe, aim, limit)
    searches.step(store, key, 2)
    return key


def carried_on(store: Store, key: str, most: int = 200) -> str:
    """So many runs, or until its verdict."""
    while most and searches.waiting_line(store, key):
        finish_next(store)
        searches.step(store, key, 2)
        most -= 1
    return key


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with searches in all states, by recipe: standard ended, stable goes on, quick failed."""
    home = tmp_path_factory.mktemp("searches")
    settings = Settings(home, "", "local", home / "nothing-shipped", None)
    store = open_store(settings)
    save_layer_scores(store, scores_identity(spec()), [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])
    save_dev_labels(store, TASK, LABELS)
    carried_on(store, begun(store, settings, "standard", Aim(within=5), Limit(runs=60)))
    carried_on(store, begun(store, settings, "standard", Aim(within=1), Limit(runs=60)))

    spent = carried_on(store, begun(store, settings, "stable", Aim(within=2), Limit(runs=3)), 2)  # of the whole model
    fail_next(store)
    searches.step(store, spent, 2)
    carried_on(store, spent)
    stopped = carried_on(store, begun(store, settings, "stable", Aim(speedup=3), Limit(minutes=10)), 3)
    searches.stop(store, stopped)
    begun(store, settings, "stable", Aim(within=5), Limit(runs=12))
    assert queue.claim(store, "worker") is not None

    failed = begun(store, settings, "quick", Aim(within=1), Limit(runs=12))
    while (row := searches.get_search(store, failed)) and row["state"] == searches.OPEN:
        fail_next(store)
        searches.step(store, failed, 2)
    store.close()
    return home / "lab.sqlite"


@pytest.fixture
def shown(settings: Settings, filled: Path, content_streamlit: None) -> Iterator[Store]:
    """That store, for a page."""
    settings.home.mkdir(parents=True)
    shutil.copy(filled, settings.home)
    store = open_store(settings)
    yield store
    store.close()


def part(app: AppTest) -> Expander:
    """What is drawn of the searches."""
    return next(one for one in app.expander if one.label == PART)


def told(app: AppTest) -> str:
    """What it says, as it is read."""
    return "\n".join(
        str(element.value).replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")
        for kind in (part(app).markdown, part(app).caption)
        for element in kind
    )


def keys(app: AppTest) -> list[str]:
    return [str(button.key).partition("_")[0] for button in part(app).button]


def test_one_that_is_sure_names_the_answer_and_one_that_cannot_be_told_says_what_it_would_take(shown: Store) -> None:
    app = opened(recipe="standard")
    said = told(app)
    assert "**Smallest within 1 point: not decidable**\nNot decidable with 400 dev examples and 5 seeds" in said
    assert "**Smallest within 5 points: sure**\nSure at 95 %: the smallest within 5 points is layers" in said
    assert "27 runs done for it, of at most 60." in said
    assert "goes on" not in said
    assert keys(app) == ["search", "show", "show"]
    assert not part(app).proto.expanded
    doubtful, sure = (table.value for table in part(app).dataframe)
    assert doubtful["stands"].iloc[0] == "seems so"
    assert sure["stands"].iloc[0] == "the answer"
    assert len(sure["layers kept"].iloc[0].split()) == 4
    beyond = sure[sure["stands"] == "beyond"]
    assert len(beyond) == 10
    assert (beyond["loss from"] > 5).all()
    click(app, str(part(app).button[-1].key))
    assert app.selectbox(key="strategy").value == "custom"
    assert " ".join(map(str, app.button_group(key="kept").value or ())) == sure["layers kept"].iloc[0]
    assert f"Kept {sure['layers kept'].iloc[0]};" in words(app)


def test_one_goes_on_one_can_and_one_would_with_a_greater_budget(shown: Store) -> None:
    app = opened(recipe="stable")
    said = told(app)
    assert part(app).proto.expanded
    assert "**Smallest within 5 points: goes on**\nSo far no cut has been measured. Of 20 smaller cuts: " in said
    assert re.search(r"0 runs done for it, of at most 12; measuring layers [\d ]+, seed 0, 1 of 10 epochs \(", said)
    assert "**Best that is 3 times as fast (at most 2 of 6 layers): stopped**\nNothing is known yet. Of 5 other" in said
    assert "3 tried with few epochs" in said
    assert "3 runs done for it, in 0 of at most 10 minutes." in said  # made-up runs take no time
    assert "**Smallest within 2 points: budget spent**\nThe budget is spent: no cut has been measured." in said
    assert "1 failed." in said
    assert re.search(
        r"counted by epochs as 2\.9 of at most 3\. With a greater budget, Search goes on from here\.", said
    )
    assert keys(app) == ["search", "stop", "go"]
    assert len(part(app).dataframe) == 0  # which would be empty
    stopped = next(row for row in searches.searches_of(shown, MODEL, TASK, "stable") if row["state"] == "stopped")
    click(app, f"go_on_{stopped['key'][:12]}")
    assert keys(app) == ["search", "stop", "stop"]
    for row in searches.searches_of(shown, MODEL, TASK, "stable"):
        if row["state"] == searches.OPEN:
            click(app, f"stop_{row['key'][:12]}")
    assert part(app).proto.expanded  # nothing goes on, and whoever has watched is not shut out


def test_where_the_whole_model_failed_it_says_why_and_what_to_do(shown: Store) -> None:
    app = opened(recipe="quick")
    said = told(app)
    assert "**Smallest within 1 point: failed**\nThe whole model could not be fine-tuned" in said
    assert re.search(r"Run \w{12} failed: The \*loss\* is not a number\.", said)
    assert "1 run done for it, of at most 12. Retry the run on Runs; when it is done, Search goes on." in said
    (row,) = searches.searches_of(shown, MODEL, TASK, "quick")
    queue.retry(shown, row["asked"])
    finish_next(shown)
    click(app, "search")
    searches.step(shown, row["key"], 2)
    assert searches.waiting_line(shown, row["key"])


def test_nothing_begun_is_a_button_and_how_long_it_may_take(scored: Store, content_streamlit: None) -> None:
    app = opened(task="mrpc")
    assert keys(app) == ["search"]
    assert told(app).startswith("It measures next what promises most")
    assert not part(app).proto.expanded


def test_who_may_only_look_reads_all_of_it_and_is_told_to_do_nothing(
    shown: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    for recipe, sentence in (("stable", "**Smallest within 2 points: budget spent**"), ("quick", "is not a number")):
        app = opened(recipe=recipe)
        assert sentence in told(app)
        assert not re.search("Retry|greater budget|Search|start one", told(app))
        assert keys(app) == []


def test_the_report_has_what_it_found_and_the_commands(shown: Store) -> None:
    view = opened(recipe="standard").session_state["report_view"]
    view.parts = [one for one in view.parts if not isinstance(one, Chart)]
    html = report.html(view)
    assert "Smallest within 5 points: sure" in html
    assert "Sure at 95 %: the smallest within 5 points is layers" in html
    assert "27 runs done for it, of at most 60." in html
    assert "the answer" in html
    for points in (1, 5):
        assert (
            f"search --model minilm-l6 --task rotten-tomatoes --recipe standard --within {points} --budget-runs 60"
            in html
        )
