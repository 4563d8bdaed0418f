"""The Cost page in its states."""

from __future__ import annotations

import pytest

from pmb.lab.store import Store
from tests.app import FULL, TOP_2, fill, finish, opened, words
from tests.conftest import spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]


def test_an_empty_store_says_what_to_do(scored: Store) -> None:
    said = words(opened("cost"))
    assert "Dropping 3 of 6 layers has not been measured yet." in said
    assert "Run a cut on Explore" in said


def test_shipped_results_fill_the_page(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    app = opened("cost", k="2")
    said = words(app)
    assert "Dropping 2 of 6 layers saves 16 % of the parameters and of the file, needs" in said
    assert "outside its layers" in said
    assert "came with the lab" in said
    assert "% less memory to fine-tune, fine-tunes" in said
    assert "MB of the peak are Python and torch" in said
    assert len(app.get("vega_lite_chart")) == 6
    table = app.dataframe[0].value.set_index("dropped")
    assert set(table.index) >= {0, 1, 2, 3}
    assert table["inference, one sentence at a time, times"].dropna().is_monotonic_increasing
    assert table["peak memory, MB"].dropna().is_monotonic_decreasing


def test_what_was_not_timed_is_left_out(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, FULL), 0.7)
    app = opened("cost", k="2")
    assert "Dropping 2 of 6 layers saves" in words(app)
    assert "times as fast" not in words(app).partition("How")[0]
    assert len(app.get("vega_lite_chart")) == 2
    assert "Not measured yet. The lab looks at the memory" in words(app)
    (how,) = (one.value for one in app.code if "sweep" in one.value)
    assert how.endswith("--task rotten-tomatoes --strategies top --recipe full --seeds 1")


def test_nonsense_in_the_address_falls_back(scored: Store) -> None:
    fill(scored)
    assert "Dropping 2 of 6 layers" in words(opened("cost", k="99", recipe="none"))  # Explore's, which goes along
