"""What dropping saves: sizes, pairs of runs, what no cut saves, and the sentence."""

from __future__ import annotations

from typing import Any

import pytest

from pmb.insight.cost import cost_sentence, costs, outside_layers


def run(kept: int, seconds: float, seed: int = 0) -> dict[str, Any]:
    """A model of six layers of a million parameters each, and four millions outside them."""
    names = {"task": "t", "seed": seed, "device": "d", "machine": "m", "train_seconds": seconds}
    sizes = {"parameters": 4_000_000 + kept * 1_000_000, "megabytes": 16.0 + 4 * kept}
    return (
        names
        | sizes
        | {
            "kept_layers": list(range(kept)),
            "whole_model_parameters": 10_000_000,
            "whole_model_megabytes": 40.0,
        }
    )


def timing(depth: int, batch: int, ratio: float) -> dict[str, Any]:
    shape = {"depth": depth, "batch": batch, "length": 32, "device": "d", "measured_at": 0.0}
    return shape | {"ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1}


RUNS = [run(6, 10.0), run(3, 5.0), run(6, 12.0, 1), run(3, 4.0, 1)]
TIMINGS = [timing(3, 32, 1.9), timing(3, 1, 1.7), timing(1, 32, 5.0)]


def test_a_row_a_drop_count_with_what_is_measured() -> None:
    table = costs(RUNS, TIMINGS, 6).set_index("drop_count")
    assert list(table.index) == [0, 3, 5]
    assert table["parameters"][3] == 7_000_000
    assert table["fine-tuning"][3] == pytest.approx(2.5)  # between 2 and 3
    assert list(table.loc[3, ["batch 32", "batch 32 low", "batch 1"]]) == pytest.approx([1.9, 1.8, 1.7])
    assert table["batch 32"][5] == 5.0
    assert table[["parameters", "fine-tuning", "batch 1"]].loc[5].isna().all()
    assert table[["fine-tuning", "batch 32", "batch 1"]].loc[0].isna().all()


def test_the_whole_model_need_not_have_run() -> None:
    table = costs([run(3, 5.0)], [], 6).set_index("drop_count")
    assert table["parameters"].to_dict() == {0: 10_000_000, 3: 7_000_000}
    assert table["fine-tuning"].isna().all()


def test_what_no_cut_saves_follows_from_two_depths() -> None:
    assert outside_layers(costs(RUNS, [], 6)) == pytest.approx(0.4)
    assert outside_layers(costs([run(6, 1.0)], [], 6)) is None
    shared = [one | {"parameters": 10_000_000} for one in RUNS]
    assert outside_layers(costs(shared, [], 6)) is None


def test_the_sentence_says_what_is_measured_and_nothing_else() -> None:
    table = costs(RUNS, TIMINGS, 6)
    assert cost_sentence(table, 3, 6) == (
        "Dropping 3 of 6 layers saves 30 % of the parameters and of the file, fine-tunes 2.5 times as fast and answers "
        "1.9 times as fast at batch 32 and 1.7 times as fast at batch 1; 2.0 times would be in proportion to depth."
    )
    assert cost_sentence(table, 5, 6) == (
        "Dropping 5 of 6 layers answers 5.0 times as fast at batch 32; 6.0 times would be in proportion to depth."
    )
    assert cost_sentence(table, 2, 6) == "Dropping 2 of 6 layers has not been measured yet."
    assert cost_sentence(costs([], [], 6), 3, 6) == "Dropping 3 of 6 layers has not been measured yet."
