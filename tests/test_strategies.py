"""The six strategies against the paper's printed layer sets and against their definitions."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmb.errors import BadInput
from pmb.strategies import (
    STRATEGIES,
    Scores,
    check_kept_layers,
    drop_counts,
    kept_above_threshold,
    kept_layers,
    strategies_of,
)

depths = st.integers(1, 48)
RULES = [s for s in STRATEGIES if s != "contribution"]


@st.composite
def cuts(draw: st.DrawFn, strategies: tuple[str, ...] = STRATEGIES) -> tuple[str, int, int, list[float]]:
    depth = draw(depths)
    strategy = draw(st.sampled_from(strategies))
    scores = draw(st.lists(st.floats(-1, 1), min_size=depth, max_size=depth))
    return strategy, depth, draw(st.sampled_from(drop_counts(strategy, depth))), scores


def dropped(strategy: str, depth: int, count: int, scores: Scores | None = None) -> set[int]:
    return set(range(depth)) - set(kept_layers(strategy, depth, count, scores))


def test_the_papers_layer_sets_for_twelve_layers_are_met() -> None:
    """tests/layer_sets.csv: Sajjad et al. (2020), sections 2 and 4; "explicit" is printed, "rule" applies its rule."""
    rows = read_sets(Path(__file__).parent / "layer_sets.csv")
    assert len(rows) == 15
    for row in rows:
        assert dropped(row["strategy"], 12, int(row["K"])) == set(map(int, row["dropped"].split())), row


def test_those_layer_sets_are_the_references(shared: Path) -> None:
    reference = [row for row in read_sets(shared / "reference" / "layer_sets.csv") if row["model"] == "any12"]
    theirs = {(r["strategy"].replace("_", "-"), r["K"], r["indices_0based"].replace(",", " ")) for r in reference}
    ours = {(r["strategy"], r["K"], r["dropped"]) for r in read_sets(Path(__file__).parent / "layer_sets.csv")}
    assert ours == theirs


def read_sets(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_papers_six_layer_cuts_of_twelve_are_met() -> None:
    assert kept_layers("top", 12, 6) == (0, 1, 2, 3, 4, 5)
    assert kept_layers("bottom", 12, 6) == (6, 7, 8, 9, 10, 11)
    assert kept_layers("even-alternate", 12, 6) == (0, 2, 4, 6, 8, 10)
    assert kept_layers("odd-alternate", 12, 6) == (1, 3, 5, 7, 9, 11)
    assert kept_layers("symmetric", 12, 6) == (0, 1, 2, 9, 10, 11)


@given(cuts())
def test_a_cut_has_the_asked_size_is_ascending_and_has_no_duplicates(cut: tuple[str, int, int, list[float]]) -> None:
    strategy, depth, count, scores = cut
    kept = kept_layers(strategy, depth, count, scores)
    assert len(kept) == depth - count
    assert list(kept) == sorted(set(kept))
    assert all(0 <= layer < depth for layer in kept)


@given(depths)
def test_the_greatest_drop_counts_are_as_defined(depth: int) -> None:
    for strategy in ("top", "bottom", "contribution"):
        assert drop_counts(strategy, depth) == tuple(range(depth))
    for strategy in ("even-alternate", "odd-alternate"):
        assert drop_counts(strategy, depth) == tuple(range(depth // 2 + 1))


@given(cuts(("even-alternate", "odd-alternate")))
def test_alternates_start_at_the_top_and_leave_a_layer_between(cut: tuple[str, int, int, list[float]]) -> None:
    strategy, depth, count, _ = cut
    start = depth - 1 if strategy == "even-alternate" else depth - 2
    assert dropped(strategy, depth, count) == {start - 2 * i for i in range(count)}


@given(cuts(("symmetric",)))
def test_symmetric_keeps_equal_ends(cut: tuple[str, int, int, list[float]]) -> None:
    strategy, depth, count, _ = cut
    gone = dropped(strategy, depth, count)
    if gone:
        below, above = min(gone), depth - 1 - max(gone)
        assert below == above >= 1
        assert gone == set(range(min(gone), max(gone) + 1))


@given(cuts(("contribution",)))
def test_contribution_drops_the_most_similar(cut: tuple[str, int, int, list[float]]) -> None:
    strategy, depth, count, scores = cut
    gone = dropped(strategy, depth, count, scores)
    stays = set(range(depth)) - gone
    assert all(scores[d] >= scores[k] for d in gone for k in stays)


def test_contribution_drops_the_higher_of_equals_first() -> None:
    assert kept_layers("contribution", 4, 1, [0.5, 0.9, 0.9, 0.1]) == (0, 1, 3)


@given(st.sampled_from(RULES), depths)
def test_dropping_nothing_keeps_the_whole_model(strategy: str, depth: int) -> None:
    assert kept_layers(strategy, depth, 0) == tuple(range(depth))


@pytest.mark.parametrize(
    ("scores", "threshold", "gone"),
    [([0.9, 0.91, 0.96, 0.8, 0.97, 0.5], 0.95, {2, 4}), ([0.9, 0.91, 0.96, 0.8, 0.97, 0.5], 0.905, {1, 2, 4})],
)
def test_the_threshold_form_drops_what_is_above_it(scores: list[float], threshold: float, gone: set[int]) -> None:
    assert set(range(6)) - set(kept_above_threshold(scores, threshold)) == gone


@pytest.mark.parametrize("threshold", [-1.0, 2.0])
def test_a_threshold_that_leaves_nothing_or_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(BadInput, match=str(threshold)):
        kept_above_threshold([0.9, 0.8], threshold)


@pytest.mark.parametrize(
    ("strategy", "count", "words"),
    [
        ("top", 6, "from 0 to 5"),
        ("bottom", -1, "from 0 to 5"),
        ("even-alternate", 4, "from 0 to 3"),
        ("symmetric", 3, "0, 2, 4.*equal ends"),
    ],
)
def test_a_drop_count_out_of_range_is_refused_with_the_range(strategy: str, count: int, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        kept_layers(strategy, 6, count)
    assert str(count) in str(caught.value)


def test_symmetric_on_an_odd_depth_says_which_counts_there_are() -> None:
    assert drop_counts("symmetric", 7) == (0, 1, 3, 5)
    with pytest.raises(BadInput, match="0, 1, 3, 5"):
        kept_layers("symmetric", 7, 2)


def test_contribution_without_scores_is_refused() -> None:
    with pytest.raises(BadInput, match="one score for each"):
        kept_layers("contribution", 6, 2)


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="Did you mean 'bottom'.*top, even-alternate"):
        drop_counts("botom", 6)


@pytest.mark.parametrize(
    ("kept", "words"),
    [((), "at least 1"), ((0, 0), "twice"), ((2, 1), "ascending"), ((0, 6), "0 to 5"), ((-1, 0), "0 to 5")],
)
def test_kept_layers_of_ones_own_are_checked(kept: tuple[int, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_kept_layers(kept, 6)


def test_two_strategies_that_keep_the_same_layers_are_both_named() -> None:
    assert strategies_of((0, 1, 2, 3, 4), 6) == ("top", "even-alternate")
    assert strategies_of((0, 5), 6) == ("symmetric",)
    assert strategies_of((1, 4), 6) == ()


@given(depths, st.data())
def test_block_influence_drops_as_contribution_does_by_scores_of_its_own(depth: int, data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.floats(-1, 1), min_size=depth, max_size=depth))
    count = data.draw(st.sampled_from(drop_counts("block-influence", depth)))
    assert kept_layers("block-influence", depth, count, scores) == kept_layers("contribution", depth, count, scores)


@given(depths, st.data())
def test_angular_drops_the_block_of_neighbours_with_the_smallest_distance(depth: int, data: st.DataObject) -> None:
    count = data.draw(st.sampled_from(drop_counts("angular", depth)))
    size = st.floats(0, 1)
    scores = [[0.5] * (depth + 1 - n) for n in range(1, depth)]
    if count:
        scores[count - 1] = data.draw(st.lists(size, min_size=depth + 1 - count, max_size=depth + 1 - count))
    gone = dropped("angular", depth, count, scores)
    assert len(gone) == count
    if count:
        start = min(gone)
        assert gone == set(range(start, start + count))
        assert scores[count - 1][start] == min(scores[count - 1])


def test_angular_drops_the_highest_of_equal_blocks_and_wants_a_distance_for_each() -> None:
    assert kept_layers("angular", 4, 2, [[0.1] * 4, [0.3, 0.2, 0.2], [0.1] * 2]) == (0, 1)
    for wrong in (None, [0.1, 0.2, 0.3, 0.4], [[0.1] * 4, [0.2] * 3]):
        with pytest.raises(BadInput, match="'angular' needs the distance over each block of the 4 layers"):
            kept_layers("angular", 4, 1, wrong if wrong is None or isinstance(wrong[0], list) else [wrong])


def test_more_strategies_are_named_where_their_scores_are_known() -> None:
    scores = [0.1, 0.9, 0.2, 0.3]
    assert strategies_of((0, 2, 3), 4) == ()
    assert strategies_of((0, 2, 3), 4, scores, {"block-influence": scores}) == ("contribution", "block-influence")
    angular = [[0.5, 0.1, 0.5, 0.5], [0.5] * 3, [0.5] * 2]
    assert strategies_of((0, 2, 3), 4, None, {"angular": angular}) == ("angular",)


def test_variance_and_greedy_drop_the_smallest_first_and_of_equals_the_higher() -> None:
    for strategy in ("variance", "greedy"):
        assert [kept_layers(strategy, 4, count, [0.2, 0.1, 0.3, 0.1]) for count in (1, 2, 3)] == [
            (0, 1, 2),
            (0, 2),
            (2,),
        ]
        with pytest.raises(BadInput, match=f"'{strategy}' needs one score for each of the 4 layers"):
            kept_layers(strategy, 4, 1)


def test_random_draws_are_fixed_grow_with_k_and_differ() -> None:
    assert kept_layers("random-0", 6, 3) == kept_layers("random-0000", 6, 3)
    for draw in range(5):
        gone = [dropped(f"random-{draw}", 12, count) for count in drop_counts(f"random-{draw}", 12)]
        assert [len(layers) for layers in gone] == list(range(12))
        assert all(fewer < more for fewer, more in itertools.pairwise(gone))
    assert len({kept_layers(f"random-{draw}", 12, 6) for draw in range(10)}) == 10
    assert [kept_layers("random-3", 6, count) for count in (2, 4)] == [(0, 1, 3, 5), (3, 5)]  # for ever
    for wrong in ("random", "random-", "random--1", "random-x", "random-99999"):
        with pytest.raises(BadInput, match="Unknown strategy"):
            kept_layers(wrong, 6, 1)
