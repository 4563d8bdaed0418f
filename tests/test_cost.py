"""What dropping saves: sizes, peaks of memory, pairs of runs, what no cut saves, and the sentence."""

from __future__ import annotations

from typing import Any

import pytest

from pmb.insight.cost import cost_sentence, costs, on_one_machine, outside_layers


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


def peak(kept: int, more: float = 0.0, machine: str = "m", when: float = 0.0) -> dict[str, Any]:
    """50 MB a layer over 500 MB."""
    what = {"device": "d", "machine": machine, "measured_at": when, "idle_megabytes": 450.0}
    return what | {"kept_layers": list(range(kept)), "peak_megabytes": 500.0 + 50 * kept + more}


RUNS = [run(6, 10.0), run(3, 5.0), run(6, 12.0, 1), run(3, 4.0, 1)]
TIMINGS = [timing(3, 32, 1.9), timing(3, 1, 1.7), timing(1, 32, 5.0)]
PEAKS = [peak(6, more) for more in (-10, 0, 10)] + [peak(3)]


def test_a_row_a_drop_count_with_what_is_measured() -> None:
    table = costs(RUNS, TIMINGS, PEAKS, 6).set_index("drop_count")
    assert list(table.index) == [0, 3, 5]
    assert table["parameters"][3] == 7_000_000
    assert table["fine-tuning"][3] == pytest.approx(2.5)  # between 2 and 3
    assert list(table.loc[3, ["batch 32", "batch 32 low", "batch 1"]]) == pytest.approx([1.9, 1.8, 1.7])
    assert table["batch 32"][5] == 5.0
    assert list(table.loc[0, ["memory", "memory low", "memory high"]]) == pytest.approx([800, 792, 808])
    assert list(table.loc[3, ["memory", "memory low", "memory high"]]) == [650, 650, 650]
    assert table[["parameters", "fine-tuning", "batch 1", "memory"]].loc[5].isna().all()
    assert table[["fine-tuning", "batch 32", "batch 1"]].loc[0].isna().all()


def test_the_whole_model_need_not_have_run() -> None:
    table = costs([run(3, 5.0)], [], [], 6).set_index("drop_count")
    assert table["parameters"].to_dict() == {0: 10_000_000, 3: 7_000_000}
    assert table["fine-tuning"].isna().all()


def test_what_no_cut_saves_follows_from_two_depths() -> None:
    table = costs(RUNS, [], PEAKS, 6)
    assert outside_layers(table, "parameters") == pytest.approx(4_000_000)
    assert outside_layers(table, "megabytes") == pytest.approx(16)
    assert outside_layers(table, "memory") == pytest.approx(500)
    assert outside_layers(costs([], [], [peak(5), peak(2)], 6), "memory") == pytest.approx(500)
    assert outside_layers(costs([run(6, 1.0)], [], [], 6), "parameters") is None
    shared = [one | {"parameters": 10_000_000} for one in RUNS]
    assert outside_layers(costs(shared, [], [], 6), "parameters") is None
    assert outside_layers(costs([], [], [peak(6), peak(3, 200)], 6), "memory") is None  # less with more layers


def test_peaks_of_different_machines_are_never_in_one_line() -> None:
    one_thread = [peak(6, machine="1 thread", when=9.0)]
    two_threads = [peak(6, 80, "2 threads", 1.0), peak(3, 80, "2 threads", 2.0)]
    gpu = [peak(6, -700, "1 thread", 5.0) | {"device": "gpu"}, peak(3, -600, "1 thread", 6.0) | {"device": "gpu"}]
    assert on_one_machine(one_thread + two_threads) == two_threads  # more depths
    assert on_one_machine(one_thread + two_threads + gpu) == gpu  # of equals the last
    assert on_one_machine([]) == []


def test_the_sentence_says_what_is_measured_and_nothing_else() -> None:
    table = costs(RUNS, TIMINGS, PEAKS, 6)
    assert cost_sentence(table, 3, 6) == (
        "Dropping 3 of 6 layers saves 30 % of the parameters and of the file, needs 19 % less memory to fine-tune, "
        "fine-tunes 2.5 times as fast and answers 1.9 times as fast at batch 32 and 1.7 times as fast at batch 1; 2.0 "
        "times would be in proportion to depth."
    )
    no_less = costs([], [], [peak(6), peak(3, 150)], 6)
    assert cost_sentence(no_less, 3, 6) == "Dropping 3 of 6 layers needs no less memory to fine-tune."
    assert cost_sentence(table, 5, 6) == (
        "Dropping 5 of 6 layers answers 5.0 times as fast at batch 32; 6.0 times would be in proportion to depth."
    )
    assert cost_sentence(table, 2, 6) == "Dropping 2 of 6 layers has not been measured yet."
    assert cost_sentence(costs([], [], [], 6), 3, 6) == "Dropping 3 of 6 layers has not been measured yet."
