"""A page by Streamlit's own AppTest: open it, click on it, read its words; made-up results for it to show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from streamlit.testing.v1 import AppTest

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.store import Store, save_latencies
from pmb.screen import view
from pmb.settings import REPOSITORY
from pmb.spec import Latency, RunSpec
from tests.conftest import result, spec

WHOLE = (0, 1, 2, 3, 4, 5)
TOP_2 = (0, 1, 2, 3)
FULL = find_recipe("full", MODELS["minilm-l6"], TASKS["rotten-tomatoes"])
view.TITLE_SECONDS = 0.0  # no browser draws it


def finish(store: Store, one: RunSpec, score: float) -> None:
    """A run that has ended with this score."""
    queue.submit(store, [one])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.finish(store, claim.key, "worker", result(score))


def fill(store: Store, seeds: int = 3) -> None:
    """The whole model and top dropping at every K, with speed."""
    for seed in range(seeds):
        for drop in range(6):
            kept = WHOLE[: 6 - drop]
            finish(store, spec(kept, seed, FULL), 0.80 - 0.03 * drop + 0.004 * seed)
    for depth in range(1, 6):
        save_latencies(
            store, spec(), [Latency(depth, 32, 32, "cpu", 6 / depth, 5 / depth, 7 / depth, 9, 0.6, 0.1 * depth)]
        )


def opened(page: str = "", **query: str | list[str]) -> AppTest:
    """A page with this query, opened by its file's name without `_page`; the first page where none is named.

    AppTest comes to every page by way of Explore, whose drop count goes along: half the layers where none is asked for.
    """
    if page:
        query.setdefault("k", "3")
    app = AppTest.from_file(str(REPOSITORY / "streamlit_app.py"), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = [value] if isinstance(value, str) else value
    app.run()
    if page:
        for name, value in query.items():  # Explore has taken out what it does not know
            app.query_params[name] = [value] if isinstance(value, str) else value
        app.switch_page(f"pages/{page}_page.py").run()
    assert not app.exception, app.exception
    return app


def rerun(app: AppTest) -> None:
    """Run again through the entrypoint, as a server does; AppTest by itself would run the page's file alone."""
    app._finished_page_script_hash = ""
    app.run()
    assert not app.exception, app.exception


def click(app: AppTest, key: str) -> None:
    """Press a button."""
    app.button(key=key).click()
    rerun(app)


def words(app: AppTest) -> str:
    """All that the page says, charts and tables left out."""
    kinds = ("markdown", "caption", "info", "warning", "error", "text", "title")
    found = "\n".join(str(element.value) for kind in kinds for element in app.get(kind))  # type: ignore[union-attr]
    return found.replace("\N{NO-BREAK SPACE}", " ")


def charts(app: AppTest) -> list[dict[str, Any]]:
    """The page's charts as Vega-Lite, each with its rows in it."""
    drawn = [element.proto for element in app.get("vega_lite_chart")]
    return [with_rows(json.loads(one.spec), {rows.name: rows.data.data for rows in one.datasets}) for one in drawn]


def with_rows(vega_lite: Mapping[str, Any], datasets: Mapping[str, bytes]) -> dict[str, Any]:
    """Vega-Lite with the rows of named Arrow tables where it names these."""
    whole = dict(vega_lite)
    if "data" in whole:
        whole["data"] = {"values": pa.ipc.open_stream(datasets[whole["data"]["name"]]).read_all().to_pylist()}
    if "layer" in whole:
        whole["layer"] = [with_rows(layer, datasets) for layer in whole["layer"]]
    return whole


def bars(app: Any) -> dict[str, int]:
    """How far the bars of a page or a part of it are, in percent, by what stands over them."""
    return {re.sub(r"\\(?=[^\w\s])", "", bar.proto.text): bar.proto.value for bar in app.get("progress")}


def finish_task(store: Store, task: str, scores: dict[int, float], seeds: int = 3) -> None:
    """Runs of top dropping on a task, with the score by drop count."""
    for drop, score in scores.items():
        for seed in range(seeds):
            one = spec_of(plan_kept(MODELS["minilm-l6"], range(6 - drop)), TASKS[task], "full", seed)
            finish(store, one, score + 0.004 * seed)
