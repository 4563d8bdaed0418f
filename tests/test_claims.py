"""The paper's claims, judged on made-up scores: each of the four verdicts, and each claim with data that decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from pmb.insight import claims, published
from pmb.insight.claims import CLAIMS, FAILS, HOLDS, NOISE, UNMEASURED, Difference, Measured, Verdict
from pmb.insight.intervals import Interval
from pmb.insight.summary import inference_speedup, points_lost, speed_by_depth, tuning_speedup

NOTHING = {name: Measured(name, 12) for name in ("", claims.BERT, claims.XLNET)}
SPREAD = (0.0, 0.002, -0.002)


def points(scores: Mapping[tuple[str, int], float], seeds: int = 3, spread: float = 1.0) -> pd.DataFrame:
    """Rows of `summary.curves` with these means, by strategy and drop count; the whole model is ("top", 0)."""
    rows = []
    for (strategy, drop_count), mean in scores.items():
        own = tuple(mean + spread * SPREAD[seed] for seed in range(seeds))
        kept = (strategy, drop_count)
        rows.append(
            {
                "strategy": strategy,
                "drop_count": drop_count,
                "kept_layers": kept,
                "seeds": tuple(range(seeds)),
                "scores": own,
                "mean": sum(own) / seeds,
            }
        )
    return pd.DataFrame(rows)


def of(scores: Mapping[tuple[str, int], float], **more: object) -> dict[str, Measured]:
    """What is known of a chosen model of six layers with these scores on one task."""
    return NOTHING | {"": Measured("M", 6, {"A": points(scores)}, **more)}  # type: ignore[arg-type]


def at(drop_count: int, whole: float = 0.9, **by_strategy: float) -> dict[tuple[str, int], float]:
    named = {name.replace("_", "-"): mean for name, mean in by_strategy.items()}
    return {("top", 0): whole} | {(name, drop_count): mean for name, mean in named.items()}


def judged(number: int, known: Mapping[str, Measured]) -> Verdict:
    return CLAIMS[number - 1].judge(known)


def difference(points: float, spread: float = 0.1) -> Difference:
    scores = tuple((points + spread * (seed - 1)) / 100 for seed in range(3))
    return Difference("one", scores, (0.0, spread / 100, -spread / 100))


@pytest.mark.parametrize(
    ("sizes", "expected"), [([2, 3], HOLDS), ([2, -3], FAILS), ([2, 0.05], NOISE), ([], UNMEASURED)]
)
def test_all_above(sizes: Sequence[float], expected: str) -> None:
    assert claims.all_above([difference(size) for size in sizes]) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"), [([0.5, -0.5], HOLDS), ([0.5, 4], FAILS), ([0.5, 2], NOISE), ([], UNMEASURED)]
)
def test_all_near(sizes: Sequence[float], expected: str) -> None:
    assert claims.all_near([difference(size) for size in sizes], 2.0) == expected


@pytest.mark.parametrize(("sizes", "expected"), [([5, 0.1], HOLDS), ([5, 4], FAILS), ([5, 1], NOISE), ([], UNMEASURED)])
def test_any_below(sizes: Sequence[float], expected: str) -> None:
    assert claims.any_below([difference(size) for size in sizes], 1.0) == expected


def test_one_of_many_refutes_only_beyond_the_correction() -> None:
    barely = Difference("barely", (0.0, 0.004, 0.008), (0.012, 0.017, 0.013))
    assert barely.interval().high < 0
    assert claims.all_above([barely]) == FAILS
    assert claims.all_above([barely, *[difference(0.0)] * 20]) == NOISE


def test_nothing_measured_is_said_of_every_claim() -> None:
    verdicts = [claim.judge(NOTHING) for claim in CLAIMS]
    assert {one.verdict for one in verdicts} == {UNMEASURED}
    assert {one.measured for one in verdicts} == {""}
    assert claims.ledger_sentence(verdicts, "M", "quick") == (
        "Of the paper's 10 claims 10 are not measured, with M and recipe quick."
    )


def test_the_numbers_of_the_claims_are_those_of_the_evidence() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 11)) == sorted(published.evidence())


def test_cuts_below_the_whole_model() -> None:
    assert judged(1, of(at(3, top=0.8, bottom=0.7))) == Verdict(
        HOLDS, "2 of 2 cuts on A are clearly below the whole model, none clearly above."
    )
    assert judged(1, of(at(3, top=0.8, bottom=0.95))).verdict == FAILS
    assert judged(1, of(at(3, top=0.8, bottom=0.9))).verdict == NOISE


def test_strategies_near_with_a_third_gone() -> None:
    near = {"top": 0.85, "even_alternate": 0.853, "odd_alternate": 0.851, "symmetric": 0.85, "contribution": 0.849}
    assert judged(2, of(at(2, **near, bottom=0.5))).verdict == HOLDS
    assert judged(2, of(at(2, **near | {"symmetric": 0.7}))).verdict == FAILS
    assert judged(2, of(at(2, **near | {"symmetric": 0.83}))).verdict == NOISE
    missing = {name: mean for name, mean in near.items() if name != "symmetric"}
    assert judged(2, of(at(2, **missing))).verdict == UNMEASURED


HALF = {"top": 0.85, "even_alternate": 0.80, "odd_alternate": 0.81, "contribution": 0.79, "bottom": 0.7}


def test_top_loses_least_and_bottom_is_worst_with_half_gone() -> None:
    assert judged(3, of(at(3, **HALF))).verdict == HOLDS
    assert judged(3, of(at(3, **HALF | {"even_alternate": 0.88}))).verdict == FAILS
    assert judged(3, of(at(3, **HALF | {"even_alternate": 0.85}))).verdict == NOISE
    assert judged(10, of(at(3, **HALF))).verdict == HOLDS
    assert judged(10, of(at(3, **HALF | {"bottom": 0.9}))).verdict == FAILS
    assert judged(10, of(at(3, **HALF | {"bottom": 0.79}))).verdict == NOISE
    assert "top 85.0 ± " in judged(3, of(at(3, **HALF))).measured


def test_one_seed_decides_nothing() -> None:
    alone = NOTHING | {"": Measured("M", 6, {"A": points(at(3, **HALF), seeds=1)})}
    assert {judged(number, alone).verdict for number in (1, 2, 3, 6, 10)} == {UNMEASURED}


def test_top_equals_the_distilled_model() -> None:
    def beside(score: float) -> dict[str, Measured]:
        distilled = {"A": {seed: score + SPREAD[seed] for seed in range(3)}}
        return of(at(3, top=0.85), distilled=distilled, distilled_title="D")

    assert judged(4, beside(0.852)).verdict == HOLDS
    assert judged(4, beside(0.75)).verdict == FAILS
    assert judged(4, beside(0.83)).verdict == NOISE
    assert judged(4, of(at(3, top=0.85))).verdict == UNMEASURED


def test_xlnet_with_a_third_gone() -> None:
    def xlnet(cut: float) -> dict[str, Measured]:
        return NOTHING | {claims.XLNET: Measured("X", 12, {"A": points(at(4, top=cut))})}

    assert judged(5, xlnet(0.9)).verdict == HOLDS
    assert judged(5, xlnet(0.85)).verdict == FAILS
    assert judged(5, xlnet(0.89)).verdict == NOISE


def test_some_task_bears_half() -> None:
    def two(first: float, second: float) -> dict[str, Measured]:
        tables = {"A": points(at(3, top=first)), "B": points(at(3, top=second))}
        return NOTHING | {"": Measured("M", 6, tables)}

    assert judged(6, two(0.9, 0.7)).verdict == HOLDS
    assert judged(6, two(0.8, 0.7)).verdict == FAILS
    assert judged(6, two(0.89, 0.7)).verdict == NOISE


@pytest.mark.parametrize(
    ("tuning", "inference", "expected"),
    [
        (Interval(2, 1.9, 2.1), Interval(1.95, 1.9, 2), HOLDS),
        (Interval(2, 1.9, 2.1), Interval(1.5, 1.4, 1.6), FAILS),
        (Interval(2, 1.9, 2.1), Interval(1.9, 1.7, 2.1), NOISE),
        (Interval(2, 1.9, 2.1), None, UNMEASURED),
    ],
)
def test_half_the_time(tuning: Interval, inference: Interval | None, expected: str) -> None:
    speedups = {"fine-tuning": tuning} | ({"inference": inference} if inference else {})
    assert judged(7, of({}, speedups=speedups)).verdict == expected


def probes(similarity: Sequence[float], score: Sequence[float]) -> pd.DataFrame:
    rows = [
        {"seed": seed, "layer": layer, "similarity": alike + SPREAD[seed], "score": right + SPREAD[seed]}
        for seed in range(3)
        for layer, (alike, right) in enumerate(zip(similarity, score, strict=True))
    ]
    return pd.DataFrame(rows)


FALLS, LEVEL = [0.5 + 0.03 * layer for layer in range(13)], [0.5] * 7 + [0.86] * 6
CHANGED_ABOVE = [1 - 0.06 * layer for layer in range(13)]
CHANGED_AT_THE_END = [0.9] * 12 + [0.4]


@pytest.mark.parametrize(
    ("bert", "xlnet", "claim_8", "claim_9"),
    [
        ((CHANGED_ABOVE, FALLS), (CHANGED_AT_THE_END, LEVEL), HOLDS, HOLDS),
        ((CHANGED_AT_THE_END, LEVEL), (CHANGED_ABOVE[::-1], FALLS), FAILS, FAILS),
        ((CHANGED_ABOVE, FALLS), ([0.9] * 13, [*LEVEL[:-1], 0.87]), NOISE, NOISE),
    ],
)
def test_what_layers_do(
    bert: tuple[list[float], ...], xlnet: tuple[list[float], ...], claim_8: str, claim_9: str
) -> None:
    known = {
        claims.BERT: Measured("B", 12, probes=probes(*bert)),
        claims.XLNET: Measured("X", 12, probes=probes(*xlnet)),
    }
    table, last = known[claims.XLNET].probes, known[claims.XLNET].probes["layer"] == 12
    table.loc[last, "similarity"] += [0.01, -0.01, 0.0]
    table.loc[last, "score"] += [0.003, -0.003, 0.0]
    assert judged(8, known).verdict == claim_8
    assert judged(9, known).verdict == claim_9


def test_averages_are_over_the_tasks_that_have_every_strategy() -> None:
    measured = Measured("M", 6, {"A": points(at(3, **HALF)), "B": points(at(3, top=0.1))})
    scores = claims.scores_at(measured, ["top", "bottom"], 3)
    assert scores["top"] == pytest.approx((0.85, 0.852, 0.848))
    assert claims.tasks_with(measured, ["top", "bottom"], 3) == ["A"]


def test_the_published_numbers_are_those_of_the_paper() -> None:
    evidence = published.evidence()
    assert evidence[3] == "BERT, 6 of 12 dropped: top 83.3, the next best 81.3."
    assert evidence[7].startswith("BERT, 6 of 12 dropped: fine-tuning 1.94 times as fast, inference in 50 %")
    lost = published.losses("XLNet").set_index(["strategy", "drop_count"])["lost"]
    assert lost["top", 4] == pytest.approx(86.14 - 85.91)


def test_points_lost_needs_the_whole_model() -> None:
    table = points(at(3, **HALF))
    assert points_lost(table).set_index("strategy")["lost"]["bottom"] == pytest.approx(20.0)
    assert points_lost(table[table["drop_count"] > 0]).empty


def test_speedups_pair_runs_of_one_machine_task_and_seed() -> None:
    def run(kept: int, seconds: float, machine: str = "m") -> dict[str, object]:
        names = {"task": "t", "seed": 0, "device": "d", "machine": machine}
        return names | {"kept_layers": list(range(kept)), "train_seconds": seconds}

    runs = [run(6, 10.0), run(3, 5.0), run(3, 100.0, "other")]
    assert tuning_speedup(3, runs, 6) == Interval(2.0, 2.0, 2.0)
    assert tuning_speedup(2, runs, 6) is None


def test_the_speedup_of_inference_is_that_of_the_depth() -> None:
    timed = {"batch": 32, "length": 32, "depth": 3, "device": "d", "measured_at": 0.0, "ratio": 1.9}
    speed = speed_by_depth([timed | {"low": 1.8, "high": 2.0}], 6, 32, 32)
    assert inference_speedup(3, speed) == Interval(1.9, 1.8, 2.0)
    assert inference_speedup(2, speed) is None


def test_probes_of_several_tasks_are_one_row_a_seed_and_layer() -> None:
    def probe(seed: int, last: float) -> dict[str, object]:
        return {"seed": seed, "similarity": [1.0, last], "tuned": [{"value": 0.5}, {"value": last}]}

    table = claims.probe_rows([probe(0, 0.8), probe(0, 0.6), probe(1, 0.9)]).set_index(["seed", "layer"])
    assert table["score"].to_dict() == pytest.approx({(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.5, (1, 1): 0.9})
    assert claims.probe_rows([]).empty
