"""Zero layers and undertrained tasks on the pages: lines, rows, marks, and sentences that leave tasks out."""

from __future__ import annotations

import pytest

from pmb.catalog.tasks import TASKS
from pmb.insight.zero_layers import BAG_OF_WORDS
from pmb.lab.dev import save_dev_labels
from pmb.lab.probes import ask_for, finish, take
from pmb.lab.store import Store
from pmb.settings import Settings
from tests import zero_layers as made
from tests.app import charts, fill, finish_task, opened, words
from tests.layer_results import layer_probe
from tests.zero_layers import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

REASON = "whole model 77.4, published 88.9"


def lines_named(app: object, name: str) -> list[float]:
    """The values of the lines of that name on the page's charts."""
    layers = [layer for chart in charts(app) for layer in chart["layer"]]  # type: ignore[arg-type]
    rows = [row for layer in layers if layer["mark"]["type"] == "rule" for row in layer["data"]["values"]]
    return [round(row.get("value", row.get("score")), 1) for row in rows if name in (row.get("name"), row.get("line"))]


def zero_rows(app: object, column: str, score: str) -> dict[str, float]:
    """What the first table says of zero layers."""
    table = app.dataframe[0].value  # type: ignore[attr-defined]
    found = table[table[column].str.contains("bag of words|one answer to all")]
    return {name: round(value, 1) for name, value in zip(found[column], found[score], strict=True)}


def test_explore_draws_the_bag_of_words_and_names_the_cuts_that_do_not_beat_it(scored: Store) -> None:
    fill(scored)  # 80.4 for the whole model, 3 points less for each layer
    made.save(scored, [0.70])
    app = opened()
    said = words(app)
    assert lines_named(app, BAG_OF_WORDS) == [70.0, 70.0]  # against depth and against speed-up
    assert zero_rows(app, "strategy", "accuracy") == {BAG_OF_WORDS: 70.0, "one answer to all": 50.0}
    assert "Zero layers: a bag of words scores 70.0 ± 1.0 %, one answer to all 50.0 %." in said
    assert (
        "2 cuts do not clearly beat the bag of words (70.0) and so have shown nothing: kept 0 1 (68.4), 0 (65.4)."
        in (said)
    )
    assert "undertrained" not in said


def test_explore_says_how_the_bag_of_words_is_measured_where_it_is_not(scored: Store) -> None:
    fill(scored)
    app = opened()
    assert lines_named(app, BAG_OF_WORDS) == []
    assert "python -m pmb baseline --model minilm-l6 --task rotten-tomatoes --recipe full" in words(app)


def test_where_the_whole_model_does_not_beat_the_bag_of_words_every_page_says_so(
    scored: Store, settings: Settings
) -> None:
    fill(scored)
    made.save(scored, [0.81])
    ask_for(scored, settings, MODEL, TASKS["rotten-tomatoes"], "full", [0])
    one = take(scored)
    assert one is not None
    finish(scored, one.key, layer_probe())
    reason = "hole model 80.4, not clearly better than a bag of words with 81.0"
    for page in ("", "strategies", "tasks", "cost", "layers", "paper", "compare", "try", "runs"):
        app = opened(page, task="rotten-tomatoes")
        told = words(app) + "".join(str(one.proto.help) for one in app.get("markdown"))
        if page == "runs":
            table = app.dataframe[0].value
            assert set(table["undertrained"].str.lstrip("w")) == {reason}
        else:
            assert "ndertrained" in told, page
            assert reason in told.replace("\\", ""), page


def test_layers_draws_the_bag_of_words_beside_the_classifiers(scored: Store, settings: Settings) -> None:
    made.save(scored, [0.62])
    ask_for(scored, settings, MODEL, TASKS["rotten-tomatoes"], "full", [0])
    one = take(scored)
    assert one is not None
    finish(scored, one.key, layer_probe())
    app = opened("layers")
    assert lines_named(app, BAG_OF_WORDS) == [62.0]
    assert zero_rows(app, "model", "fine-tuned × 100") == {BAG_OF_WORDS: 62.0, "one answer to all": 50.0}


def test_strategies_leaves_an_undertrained_task_out_of_the_average_and_calls_nothing_best_there(scored: Store) -> None:
    for task, whole in (("sst2", 0.9), ("rte", 0.68), ("mrpc", 0.77)):
        finish_task(scored, task, {0: whole, 3: whole - 0.1})
        made.save(scored, [0.6], task=task)
    app = opened("strategies")
    said = words(app).replace("\\", "")
    assert f"Undertrained: MRPC ({REASON})." in said
    assert lines_named(app, BAG_OF_WORDS) == [60.0] * 3
    table = app.dataframe[0].value
    cuts = table[table["strategy"] == "top"].set_index("task")
    assert cuts["not clearly worse"].to_dict() == {"SST-2": True, "RTE": True, "MRPC (undertrained)": False}
    assert table[table["strategy"] == BAG_OF_WORDS]["task"].tolist() == ["SST-2", "MRPC (undertrained)", "RTE"]
    alone = words(opened("strategies", tasks="mrpc")).replace("\\", "")
    assert "no strategy can be called better: every task measured here is undertrained" in alone


def test_tasks_leaves_an_undertrained_task_out_of_the_average_and_the_sentence(scored: Store) -> None:
    for task, whole in (("sst2", 0.9), ("rte", 0.68), ("mrpc", 0.77)):
        finish_task(scored, task, {0: whole, 3: whole - (0.3 if task == "mrpc" else 0.1)})
        made.save(scored, [0.6], task=task)
    app = opened("tasks")
    said = words(app).replace("\\", "")
    assert "costs 10.0 points" in said
    assert "on average over 2 tasks; by task from 10.0" in said
    assert f"Undertrained: MRPC ({REASON})." in said
    table = app.dataframe[0].value
    assert "MRPC (undertrained)" in set(table["task"])
    assert table[table["task"] == "SST-2, bag of words"]["score × 100"].round(1).tolist() == [60.0]
    (chart,) = (one for one in charts(app) if "Points lost" in str(one) or one["layer"])
    names = {row["name"]: row["note"] for layer in chart["layer"][1:2] for row in layer["data"]["values"]}
    assert names["MRPC *"] == f"undertrained: {REASON}"


def test_the_paper_judges_its_claims_without_undertrained_tasks(scored: Store) -> None:
    finish_task(scored, "mrpc", {0: 0.77, 3: 0.6})
    said = words(opened("paper")).replace("\\", "")
    assert f"Undertrained: MRPC ({REASON})." in said
    assert "clearly below the whole model" not in said
    finish_task(scored, "sst2", {0: 0.9, 3: 0.8})
    assert "1 of 1 cuts on SST-2 are clearly below the whole model" in words(opened("paper")).replace("\\", "")


def test_compare_shows_what_zero_layers_score_and_why_a_side_is_undertrained(scored: Store) -> None:
    fill(scored)
    made.save(scored, [0.81])
    save_dev_labels(scored, TASKS["rotten-tomatoes"], (0, 1) * 3000)
    app = opened("compare", task="rotten-tomatoes")
    assert [metric.value for metric in app.metric if metric.label == "Bag of words"] == ["81.0 %"]
    assert app.dataframe[0].value[BAG_OF_WORDS].round(1).tolist() == [81.0] * 3
