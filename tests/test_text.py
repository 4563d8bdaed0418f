"""What users type, upload or name, and what errors say, is text on every page: nothing in it is read as more."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pmb import report
from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.tasks import TASKS, Table, Task
from pmb.lab import queue
from pmb.lab.dev import save_dev_labels
from pmb.lab.plan import plan_kept, plan_whole, scores_identity, spec_of
from pmb.lab.schema import sources
from pmb.lab.store import Store, list_runs, save_layer_scores
from pmb.screen import ui
from pmb.spec import Progress
from tests.app import opened
from tests.conftest import result
from tests.test_report import checked

NASTY = "**bold** <b>x</b> [a](http://evil.org) ![i](http://evil.org/i.png) :red[r] `c` $m$ www.evil.org\x07\u202e"
ACTIVE = re.compile(r"(?<!\\)(\*\*bold|<b>|\[a|:red\[)|http://evil|www\.evil|\x07|\u202e")
KINDS = ("markdown", "caption", "info", "warning", "error", "success", "title", "header", "subheader", "toast")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 3.5 % of A-B", "plain words, 3.5 % of A-B"),
        ("# h\n- b", r"\# h - b"),
        ("a\x07\x00\u202eb", "a\u2407\u2400\ufffdb"),
        ("&lt;", r"\&lt;"),
    ],
)
def test_a_text_is_shown_as_it_is(text: str, shown: str) -> None:
    assert ui.plain(text) == shown


@pytest.mark.parametrize(
    "text", ["www.a.org", "https://a.org", "a@b.org", ":material/home:", ":smile:", "a -> b", "- a", "1. a", "---"]
)
def test_what_is_read_after_the_escapes_is_parted_without_a_sign(text: str) -> None:
    shown = ui.plain(text)
    assert ui.JOINER in shown
    assert re.sub(r"\\(.)", r"\1", shown).replace(ui.JOINER, "") == text


@pytest.fixture
def nasty(scored: Store, content_streamlit: None) -> Store:
    """A table and a folder with such names, runs on them, one that waits and one that failed, and such a device."""
    model = replace(
        MODELS["minilm-l6"], id="/models/x", title=NASTY, about=NASTY, wheel="", weights_sha256="", folder="/models/x"
    )
    name = "csv:/tables/x.csv"
    task = replace(TASKS["rotten-tomatoes"], id=name, title=NASTY, labels=(NASTY, "b"), table=Table("/tables/x.csv"))
    rows: list[tuple[str, str, BaseModel | Task]] = [("model", model.id, model), ("task", name, task)]
    with scored.connect() as connection:
        for kind, identity, row in rows:
            values = {"kind": kind, "name": identity, "fingerprint": "", "facts": asdict(row), "notes": [NASTY]}
            connection.execute(scored.insert_new(sources), values | {"inspected_at": time.time()})
    specs = [
        spec_of(plan_kept(one, range(6 - drop)), data, "full", seed)
        for one, data in ((model, task), (MODELS["minilm-l6"], task))
        for drop in (0, 2, 3)
        for seed in (0, 1)
    ]
    queue.submit(replace(scored, user=NASTY), specs)
    while claim := queue.claim(scored, "worker"):
        queue.finish(scored, claim.key, "worker", replace(result(), device=NASTY, machine=NASTY))
    save_dev_labels(scored, task, [0, 1] * 3000)
    save_layer_scores(scored, scores_identity(spec_of(plan_whole(model), task, "full", 0)), [0.5] * 6)
    waiting = [spec_of(plan_kept(model, (0,)), task, "quick", seed) for seed in range(3)]
    queue.submit(scored, waiting)
    for _ in range(2):
        claim = queue.claim(scored, "worker")
        assert claim is not None
        queue.renew(scored, claim.key, "worker", Progress("training", 1, 2))
    queue.fail(scored, waiting[0].key, "worker", NASTY, NASTY)
    return scored


@pytest.mark.slow
@pytest.mark.parametrize("page", ["", "strategies", "tasks", "cost", "layers", "paper", "compare", "runs"])
def test_no_page_reads_a_users_text_as_anything_else(nasty: Store, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmb.lab.sources._fingerprint", lambda *_: "")
    monkeypatch.setattr("pmb.lab.sources._model_fingerprint", lambda *_: "")
    is_dir, is_file = Path.is_dir, Path.is_file  # every other path is what it is
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: str(path) == "/models/x" or is_dir(path))
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: str(path) == "/tables/x.csv" or is_file(path))
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: iter(()))
    app = opened(page, model="/models/x", task="csv:/tables/x.csv")
    said = [str(element.value) for kind in KINDS for element in app.get(kind)]  # type: ignore[union-attr]
    said += [element.proto.text for element in app.get("progress")]
    said += [getattr(element, "label", "") for kind in ("button", "metric", "expander") for element in app.get(kind)]
    assert len(list_runs(nasty)) == 15
    assert [text for text in said if ACTIVE.search(text)] == []
    if view := app.session_state["report_view"]:
        assert "bold" in checked(report.html(view)).words
