"""Reports: one file, without a script or a request, in which what users named is text; of every page with a chart."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import altair as alt
import pandas as pd
import pytest
from altair import SCHEMA_VERSION

from pmb import drawing, report
from pmb.catalog.tasks import TASKS
from pmb.charts.style import THEMES
from pmb.errors import PmbError
from pmb.lab.dev import save_dev_labels
from pmb.lab.store import Store
from pmb.letters import visible
from pmb.report import Chart, Heading, Number, Table, View, Words
from pmb.screen import view
from tests.app import fill, finish_task, opened, words

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script><img src=http://evil.org/x onerror=alert(1)>\"'&lt;\x07\u202e"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p"),
    *("strong", "em", "code", "br", "dl", "div", "dt", "dd", "picture", "source", "img", "pre", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
NOW = datetime(2026, 11, 26, tzinfo=UTC)


class Read(HTMLParser):
    """The tags, attributes and words of a report."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data


def drawings(read: Read) -> Iterator[ElementTree.Element]:
    for tag, attributes in read.tags:
        for name in {"img": ["src"], "source": ["srcset"]}.get(tag, []):
            head, _, data = attributes[name].partition(",")
            assert head == "data:image/svg+xml;base64"
            yield ElementTree.fromstring(base64.b64decode(data))


def checked(text: str) -> Read:
    """The report, in which nothing can run or be fetched, whatever is in it."""
    read = Read(text)
    assert {tag for tag, _ in read.tags} <= TAGS
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    assert not [a for tag, a in read.tags if tag == "a" and not a["href"].startswith("http://127.0.0.1")]
    policy = next(a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for svg in drawings(read):
        for element in svg.iter():
            assert element.tag.rpartition("}")[2] in {"svg", "g", "rect", "path", "text", "line", "defs", "clipPath"}
            assert not [name for name in element.attrib if name.startswith("on") or name.endswith("href")]
    assert "\x07" not in text
    assert "\u202e" not in text
    return read


def hostile_chart() -> alt.Chart:
    data = pd.DataFrame({"name": [HOSTILE, "b"], "value": [1, 2]})
    return alt.Chart(data).mark_bar().encode(x="value:Q", y=alt.Y("name:N", title=HOSTILE), color="name:N")


def test_what_users_named_is_text() -> None:
    table = pd.DataFrame({HOSTILE: [HOSTILE], "score": [78.666]})
    view = View("explore", HOSTILE, answers=[HOSTILE], method=[HOSTILE], link="http://127.0.0.1/?a=%22&b=1")
    view.parts = [
        *(Heading(HOSTILE), Words(HOSTILE, small=True), Words("[a](http://evil.org) ![i](http://evil.org)")),
        *(Number(HOSTILE, "1", HOSTILE), Chart(hostile_chart, HOSTILE), Table(table, {"score": "%.1f"})),
    ]
    view.commands = (f"python -m pmb run --task '{HOSTILE}'",)
    view.measured = lambda: [{"machine": HOSTILE, "device": HOSTILE, "versions": {HOSTILE: HOSTILE}}]
    read = checked(report.html(view, NOW))
    assert read.words.count("<script>alert(1)</script><img src=http://evil.org/x onerror=alert(1)>\"'&lt;␇�") == 15
    assert "[a](http://evil.org) ![i](http://evil.org)" in read.words
    assert "78.7" in read.words
    assert [a["alt"] for tag, a in read.tags if tag == "img"] == [visible(HOSTILE)]
    labels = [element.text for svg in drawings(read) for element in svg.iter() if element.text]
    assert any("<script>" in label for label in labels)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", ""])
def test_a_link_that_is_none_of_a_page_is_left_out(link: str) -> None:
    assert "<a" not in report.html(View("cost", "What?", link=link), NOW)


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        *((one, "%.1f", "–") for one in (None, float("nan"), pd.NA, pd.NaT)),
        *((True, "", "yes"), (False, "%.1f", "no"), (3, "", "3"), (2, "%.2f", "2.00")),
        *((0.25, "", "0.25"), (78.66, "%.1f", "78.7"), ("0 1 2", "%.1f", "0 1 2")),
    ],
)
def test_a_cell_is_what_the_page_shows(value: object, form: str, shown: str) -> None:
    assert report.cell(value, form) == shown


def test_a_long_table_is_cut_and_says_so() -> None:
    view = View("compare", "What?", [Table(pd.DataFrame({"row": range(report.MOST_ROWS + 7)}), {})])
    read = checked(report.html(view, NOW))
    assert len([tag for tag, _ in read.tags if tag == "tr"]) == 1 + report.MOST_ROWS
    assert "and 7 more rows" in read.words


def test_charts_are_drawn_by_the_version_that_altair_writes() -> None:
    assert SCHEMA_VERSION.startswith(f"v{drawing.VEGA_LITE}.")


def test_charts_that_cannot_be_drawn_leave_their_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", "false")
    view = View("cost", "What?", [Chart(hostile_chart, "Bars of a & b.")])
    assert "The chart could not be drawn. It shows: Bars of a & b." in checked(report.html(view, NOW)).words
    assert "No chart of a report could be drawn" in capfd.readouterr().err


def test_each_machine_is_named_once() -> None:
    one = {"machine": "Linux", "device": "CPU", "versions": {"torch": "2", "pmb": "0.1"}}
    other = {"machine": "Linux", "device": "GPU", "versions": None}
    assert report.measured_on([other, one, one]) == ["CPU; Linux; pmb 0.1, torch 2", "GPU; Linux"]


PAGES = {
    "explore": ("Dropping 3 of 6 layers by top", 3, "--keep 0,1,2 --recipe full --seed 0"),
    "strategies": ("With 3 of 6 layers dropped", 2, "--drops 3 --recipe full"),
    "tasks": ("Dropping 3 of 6 layers by top", 1, "--task mrpc --strategies top"),
    "cost": ("Dropping 3 of 6 layers", 4, "--strategies top --recipe full"),
    "layers": ("", 1, "python -m pmb probe --model minilm-l6"),
    "paper": ("Of the paper's 10 claims", 2, "python -m pmb sweep --model minilm-l6 --task"),
    "compare": ("B minus A", 3, "--keep 0,1,2,3,4,5 --recipe full --seed 0"),
}


def test_every_page_makes_its_report(scored: Store) -> None:
    fill(scored)
    finish_task(scored, "mrpc", {0: 0.87, 3: 0.77})
    save_dev_labels(scored, TASKS["rotten-tomatoes"], [0, 1] * 3000)
    app = opened(k="3")
    for page, (sentence, charts, command) in PAGES.items():
        if page != "explore":
            app.switch_page(f"pages/{page}_page.py").run()
        assert app.get("download_button"), page
        view = app.session_state["report_view"]
        assert report.file_name(view, NOW) == f"pmb-{page}-2026-11-26.html"
        read = checked(report.html(view, NOW))
        assert read.words.count(app.title[0].value) == 2, page  # as the title of the file, too
        assert sentence in read.words, page
        assert len([tag for tag, _ in read.tags if tag == "img"]) == charts, page
        assert [tag for tag, _ in read.tags if tag == "table"], page
        assert command in read.words, page
        assert "How this was measured" in read.words, page
        assert "Press" not in read.words, page
        drawn = "".join(ElementTree.tostring(one, "unicode") for one in drawings(read))
        assert drawn, page
        assert THEMES["dark"].text not in drawn, page


def test_a_page_without_a_question_keeps_nothing(scored: Store) -> None:
    app = opened("runs")
    assert app.session_state["report_view"] is None


def test_the_button_comes_with_the_whole_page(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(scored)
    app = opened(k="3")
    assert [button.proto.disabled for button in app.get("download_button")][:1] == [False]

    def broken(*_: object, **__: object) -> None:
        raise PmbError("It breaks off here.")

    monkeypatch.setattr(view, "method", broken)
    app.switch_page("pages/cost_page.py").run()
    assert "It breaks off here." in words(app)
    assert [button.proto.disabled for button in app.get("download_button") if button.proto.label == "Report"] == [True]


def test_a_part_that_looks_again_takes_the_place_of_what_it_kept_before(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Callable[[], object]] = []

    def live(look: Callable[[], object], seconds: float | None) -> None:
        looks.append(look)
        look()

    monkeypatch.setattr("pmb.screen.ui.live", live)
    page = View("explore", "What?")
    state = {"report_view": page}
    monkeypatch.setattr("streamlit.session_state", state)
    found = [["first"], ["second", "more"], []]

    def show() -> None:
        for text in found.pop(0):
            view.keep(Words(text))

    view.keep(Words("before"))
    view.live(show, None)
    view.keep(Words("after"))
    for said in (["before", "first", "after"], ["before", "second", "more", "after"], ["before", "after"]):
        assert [part.text for part in page.parts if isinstance(part, Words)] == said
        if found:
            looks[0]()
