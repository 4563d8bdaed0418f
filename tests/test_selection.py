"""Rows of a table that stand out in the charts: by the address, by the table, cleared, and the ways on from them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from pmb.catalog.tasks import TASKS
from pmb.lab.dev import save_dev_labels
from pmb.lab.store import Store
from tests.app import charts, fill, opened, rerun, words
from tests.layer_results import finish_probe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]


def marks(app: AppTest, chart: int) -> list[dict[str, Any]]:
    """The rows of all layers of a chart."""
    return [row for layer in charts(app)[chart]["layer"] for row in layer["data"]["values"]]


def table_key(app: AppTest) -> str:
    return "rows-" + app.dataframe[0].proto.id.partition("rows-")[2]


def ways_on(app: AppTest) -> list[tuple[str, dict[str, list[str]]]]:
    """The links beside the selection: their words and their addresses."""
    links = [element.proto for element in app.get("page_link")]
    return [(link.label, parse_qs(link.query_string)) for link in links]


def test_a_link_selects_what_it_says_and_fades_the_rest_until_it_is_cleared(scored: Store) -> None:
    fill(scored)
    app = opened(select="top.2")
    assert "**1 of " in words(app)
    points = {(m["strategy"], m["drop_count"]): m["opacity"] for m in marks(app, 2) if "opacity" in m}
    assert points[("top", 2)] == 1
    assert points[("top", 3)] == 0.25
    (label, address) = ways_on(app)[0]
    assert label == "Compare with the whole model"
    assert address["a"] == ["minilm-l6 full 0,1,2,3,4,5"]
    assert address["b"] == ["minilm-l6 full 0,1,2,3"]
    app.button(key="clear_selection").click()
    rerun(app)
    assert "Select rows to make them stand out" in words(app)
    assert "select" not in app.query_params


def test_what_the_table_tells_goes_into_the_address_and_rows_that_it_has_not_are_ignored(scored: Store) -> None:
    fill(scored)
    app = opened(select="nonsense")
    assert "select" not in app.query_params
    app.session_state[table_key(app)] = {"selection": {"rows": [3, 1, 99, -1]}}
    rerun(app)
    assert app.query_params["select"] == ["top.1", "top.3"]
    assert ways_on(app)[0][0] == "Compare the two"
    app.query_params["select"] = ["top.4"]  # another link in the same tab, or the way back
    rerun(app)
    assert app.session_state[table_key(app)]["selection"]["rows"] == [4]


@pytest.mark.parametrize(
    ("page", "row", "address"),
    [
        ("strategies", "rotten-tomatoes.top", {"strategy": "top", "k": "3", "task": "rotten-tomatoes"}),
        ("tasks", "rotten-tomatoes.4", {"strategy": "top", "k": "4", "task": "rotten-tomatoes"}),
        ("cost", "5", {"k": "5", "task": "rotten-tomatoes"}),
    ],
)
def test_a_row_of_another_page_leads_to_its_cut_on_explore(
    scored: Store, page: str, row: str, address: dict[str, str]
) -> None:
    fill(scored)
    save_dev_labels(scored, TASKS["rotten-tomatoes"], [0, 1] * 3000)
    app = opened(page, select=row)
    assert "**1 of " in words(app)
    label, query = ways_on(app)[0]
    assert label == "Show on Explore"
    assert {name: [value] for name, value in address.items()}.items() <= query.items()


def test_a_drop_count_goes_along_to_the_next_page(scored: Store) -> None:
    fill(scored)
    assert "Dropping 4 of 6 layers saves" in words(opened("cost", k="4"))


def test_a_single_seed_is_a_badge_and_has_no_band(scored: Store) -> None:
    fill(scored, seeds=1)
    app = opened()
    assert "1 seed" in words(app)
    assert "area" not in [layer["mark"]["type"] for layer in charts(app)[1]["layer"]]
    assert "Dotted: of a single seed" in words(app)


def test_selected_layers_stand_out_on_layers(scored: Store) -> None:
    for seed in range(2):
        finish_probe(scored, seed=seed)
    app = opened("layers", select="minilm-l6.3")
    assert "**1 of 7 rows selected**" in words(app)
    for chart in range(3):
        points = {m["name"]: m["opacity"] for m in marks(app, chart) if "name" in m}
        assert points["3"] == 1
        assert {opacity for name, opacity in points.items() if name != "3"} == {0.25}
