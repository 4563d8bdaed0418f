"""The strategies against each other: a winner where there is one, a group where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pmb.insight.contest import contest, contest_sentence

KEPT = {"top": (0, 1), "bottom": (2, 3), "symmetric": (0, 3), "even-alternate": (0, 2)}


def scores(**means: float) -> dict[str, Sequence[float]]:
    return {name.replace("_", "-"): (mean - 0.002, mean, mean + 0.002) for name, mean in means.items()}


def test_a_clear_winner_is_named() -> None:
    table = contest(scores(top=0.9, bottom=0.7, symmetric=0.8), KEPT)
    assert list(table["in_best_group"]) == [True, False, False]
    assert list(table["behind"].round(1)) == [0.0, 20.0, 10.0]
    assert contest_sentence(table, 2, 4, "on SST-2") == (
        "With 2 of 4 layers dropped, on SST-2, top is clearly the best: bottom and symmetric are clearly worse."
    )


def test_those_that_are_not_clearly_different_stand_together() -> None:
    table = contest(scores(top=0.9, even_alternate=0.901, bottom=0.7), KEPT)
    said = contest_sentence(table, 2, 4, "on SST-2")
    assert "top and even alternate are not clearly different; bottom is clearly worse than the best of them." in said
    alike = contest(scores(top=0.9, bottom=0.901), KEPT)
    assert contest_sentence(alike, 2, 4, "on A").endswith("no strategy is clearly better than another.")


def test_the_same_layers_are_one_cut() -> None:
    kept = KEPT | {"even-alternate": KEPT["top"]}
    table = contest(scores(top=0.9, even_alternate=0.9, bottom=0.7), kept)
    said = contest_sentence(table, 2, 4, "on A")
    assert "top (the same as even alternate) is clearly the best: bottom is clearly worse." in said


def test_more_pairs_widen_the_intervals() -> None:
    near = {"top": (0.90, 0.91, 0.92), "bottom": (0.87, 0.88, 0.89)}
    assert list(contest(near, KEPT)["in_best_group"]) == [True, False]
    more = near | dict.fromkeys(("symmetric", "even-alternate"), near["top"])
    assert contest(more, KEPT)["in_best_group"].all()


def test_one_seed_calls_nothing() -> None:
    table = contest({"top": (0.9,), "bottom": (0.1,)}, KEPT)
    assert table["in_best_group"].all()
    assert math.isnan(table["low"][0])
    assert contest_sentence(table, 2, 4, "on A").endswith("one seed does not tell which strategy is better.")


def test_a_single_strategy_is_no_contest() -> None:
    assert "not two strategies" in contest_sentence(contest(scores(top=0.9), KEPT), 2, 4, "on A")
    assert contest({}, KEPT).empty
