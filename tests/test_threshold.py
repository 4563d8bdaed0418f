"""How many layers go at a loss of so many points: chosen on one half of dev, reported on the other."""

from __future__ import annotations

import numpy as np
import pytest

from pmb.insight.threshold import layers_within, threshold_sentence

LABELS = [i % 2 for i in range(1000)]


def wrong_in(share: float, seed: int = 0) -> list[int]:
    """Answers of which such a share is wrong, at random places."""
    wrong = np.random.default_rng(seed).permutation(1000) < share * 1000
    return [label ^ int(w) for label, w in zip(LABELS, wrong, strict=True)]


def test_what_loses_nothing_goes_and_what_loses_much_stays() -> None:
    table = layers_within({0: [LABELS], 1: [LABELS], 2: [LABELS], 3: [wrong_in(0.4)]}, LABELS, "accuracy")
    assert list(table["points"]) == [1, 2, 3]
    assert list(table["dropped"]) == [2, 2, 2]
    assert (table[["loss", "loss_low", "loss_high"]] == 0).all(axis=None)


def test_the_loss_is_that_of_the_other_half() -> None:
    """A cut that loses 2 points on all of dev loses less on the halves that choose it, and more on the others."""
    table = layers_within({0: [LABELS], 1: [wrong_in(0.02)]}, LABELS, "accuracy").set_index("points")
    assert (table.loc[2, "dropped_low"], table.loc[2, "dropped_high"]) == (0, 1)
    assert table.loc[3, "dropped"] == 1
    assert table["loss_high"].gt(2)[3]
    chosen = layers_within({0: [LABELS], 1: [wrong_in(0.02)], 2: [wrong_in(0.5)]}, LABELS, "accuracy")
    assert list(chosen["dropped"]) == list(table["dropped"])


def test_losses_are_means_over_seeds_and_the_metric_is_the_tasks() -> None:
    several = {0: [LABELS, LABELS], 1: [LABELS, wrong_in(0.05)]}
    table = layers_within(several, LABELS, "accuracy").set_index("points")
    assert table.loc[3, "dropped"] == 1
    assert table["loss"].between(1.5, 3.5)[3]
    assert layers_within(several, LABELS, "matthews").set_index("points").loc[3, "dropped"] == 0


def test_the_sentence_names_the_range_only_where_halves_disagree() -> None:
    sure = layers_within({0: [LABELS], 1: [LABELS]}, LABELS, "accuracy")
    unsure = layers_within({0: [LABELS], 1: [wrong_in(0.02)]}, LABELS, "accuracy")
    said = threshold_sentence({"a": sure, "b": unsure}, {"a": "A", "b": "B"}, 2, 6)
    assert said.startswith("At a loss of at most 2 points, of 6 layers go: A 1, B ")
    assert said.endswith("(0 to 1).")


def test_the_whole_model_is_needed() -> None:
    with pytest.raises(KeyError):
        layers_within({1: [LABELS]}, LABELS, "accuracy")
