"""The paper's claims, each judged by what this lab has measured: holds, does not hold, within noise, not measured.

A claim is a set of differences that must all lie on one side, or all be small, or of which one must be small. Each has
its 95 % interval over seeds. "All" holds where every interval says so, which needs no correction; a single one that
says the contrary refutes it, so that those intervals are widened to the number of comparisons (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from pmb.insight.intervals import COVERAGE, Interval, difference_interval, seed_interval
from pmb.strategies import STRATEGIES, drop_counts

HOLDS, FAILS, NOISE, UNMEASURED = "holds", "does not hold", "within noise", "not measured"
VERDICTS = (HOLDS, FAILS, NOISE, UNMEASURED)

BERT, XLNET = "bert-base-cased", "xlnet-base-cased"
NEAR_POINTS = 2.0  # "near one another", "equals"
HARDLY_POINTS = 1.0  # "hardly anything", "level"
LEAST_SPEEDUP = 1.8  # of half the layers; the ideal is 2, the paper has 1.94
LEVEL_LAYER = 7  # of twelve, counted from 1 as in the paper; 0 is the embeddings


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of VERDICTS and the sentence that it rests on."""

    verdict: str
    measured: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What the lab has of one model with one recipe.

    `points`: by task, under its title, the rows of `insight.summary.curves`; of tasks that are undertrained there are
    none, nor probes, and `undertrained` says why. `probes`: rows `seed`, `layer`, `similarity`, `score`. `speedups`: at
    half the layers, "inference" and "fine-tuning" as ratios with their spread. `distilled`: by task the scores over
    seeds of a distilled model of half the depth, which `distilled_title` names.
    """

    title: str
    num_hidden_layers: int
    points: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    probes: pd.DataFrame = field(default_factory=pd.DataFrame)
    speedups: Mapping[str, Interval] = field(default_factory=dict)
    distilled: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    distilled_title: str = ""
    undertrained: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper; `models` are those that it speaks of, where it does not speak of any model.

    `needs`: the strategies and drop counts that decide it, for a model of so many layers; none where layers are probed
    instead. `distilled`: a distilled model of half the depth is needed too.
    """

    number: int
    text: str
    judge: Callable[[Mapping[str, Measured]], Verdict]
    models: tuple[str, ...] = ()
    needs: Callable[[int], tuple[tuple[str, int], ...]] = lambda _: ()
    distilled: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """What is compared, and its scores over seeds minus the other's."""

    name: str
    values: tuple[float, ...]
    others: tuple[float, ...]

    def interval(self, comparisons: int = 1) -> Interval:
        """In points, widened to the number of comparisons."""
        found = difference_interval(self.values, self.others, 1 - (1 - COVERAGE) / comparisons)
        return Interval(100 * found.mean, 100 * found.low, 100 * found.high)


# =============================================================================
# Verdicts from differences
# =============================================================================


def all_above(differences: Sequence[Difference]) -> str:
    """Whether every difference is greater than 0."""
    return _judged(differences, lambda i: i.low > 0, lambda i: i.high < 0)


def all_near(differences: Sequence[Difference], points: float) -> str:
    """Whether every difference is smaller than so many points, whichever way."""
    return _judged(differences, lambda i: -points < i.low and i.high < points, lambda i: _beyond(i, points))


def any_below(differences: Sequence[Difference], points: float) -> str:
    """Whether at least one difference is smaller than so many points."""
    contrary = _judged(differences, lambda i: i.low > points, lambda i: i.high < points)
    return {HOLDS: FAILS, FAILS: HOLDS}.get(contrary, contrary)


def _beyond(interval: Interval, points: float) -> bool:
    return interval.low > points or interval.high < -points


def _judged(
    differences: Sequence[Difference], says_so: Callable[[Interval], bool], contradicts: Callable[[Interval], bool]
) -> str:
    if not differences:
        return UNMEASURED
    if all(says_so(one.interval()) for one in differences):
        return HOLDS
    if any(contradicts(one.interval(len(differences))) for one in differences):
        return FAILS
    return NOISE


def combined(verdicts: Iterable[str]) -> str:
    """The verdict on several parts that must all hold."""
    found = list(verdicts)
    return next((verdict for verdict in (FAILS, UNMEASURED, NOISE) if verdict in found), HOLDS)


# =============================================================================
# Scores
# =============================================================================


def scores_at(measured: Measured, strategies: Sequence[str], drop_count: int) -> dict[str, tuple[float, ...]]:
    """By strategy ("whole" too) the mean over tasks, a value a seed, over the tasks and seeds that all of them have."""
    by_task = []
    for table in measured.points.values():
        rows = {row["strategy"]: row for row in table[table["drop_count"] == drop_count].to_dict("records")}
        whole = table[table["drop_count"] == 0].to_dict("records")
        rows |= {"whole": whole[0]} if whole else {}
        if all(name in rows for name in strategies):
            by_task.append(
                {name: dict(zip(rows[name]["seeds"], rows[name]["scores"], strict=True)) for name in strategies}
            )
    seeds = set.intersection(*(set(scores) for task in by_task for scores in task.values())) if by_task else set()
    if len(seeds) < 2:
        return {}
    return {
        name: tuple(math.fsum(task[name][seed] for task in by_task) / len(by_task) for seed in sorted(seeds))
        for name in strategies
    }


def tasks_with(measured: Measured, strategies: Sequence[str], drop_count: int) -> list[str]:
    """The tasks on which all of these strategies are measured at a drop count."""
    return [
        title
        for title, table in measured.points.items()
        if set(strategies) - {"whole"} <= set(table[table["drop_count"] == drop_count]["strategy"])
    ]


def probe_rows(probes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What was measured on layers, a row a seed and layer (0 the embeddings, as in the paper), means over tasks."""
    rows = [
        {"seed": probe["seed"], "layer": layer, "similarity": similarity, "score": tuned["value"]}
        for probe in probes
        for layer, (similarity, tuned) in enumerate(zip(probe["similarity"], probe["tuned"], strict=True))
    ]
    if not rows:
        return pd.DataFrame()
    return pd.DataFrame(rows).groupby(["seed", "layer"], as_index=False).mean()


def third(num_hidden_layers: int) -> int:
    """A third of the layers, as a drop count."""
    return round(num_hidden_layers / 3)


def half(num_hidden_layers: int) -> int:
    """Half of the layers, as a drop count."""
    return num_hidden_layers // 2


def _possible(measured: Measured, drop_count: int, *left_out: str) -> list[str]:
    return [name for name in reachable(measured.num_hidden_layers, drop_count) if name not in left_out]


def reachable(num_hidden_layers: int, drop_count: int) -> list[str]:
    """The strategies that can drop so many layers."""
    return [name for name in STRATEGIES if drop_count in drop_counts(name, num_hidden_layers)]


def _differences(scores: Mapping[str, tuple[float, ...]], pairs: Iterable[tuple[str, str]]) -> list[Difference]:
    return [Difference(f"{one} and {other}", scores[one], scores[other]) for one, other in pairs] if scores else []


# =============================================================================
# The claims
# =============================================================================


def cuts_below_whole(known: Mapping[str, Measured]) -> Verdict:
    """Claim 1, on each task by itself."""
    measured = known[""]
    differences = []
    for title, table in measured.points.items():
        whole = table[table["drop_count"] == 0].to_dict("records")
        cuts = table[table["drop_count"] > 0].drop_duplicates("kept_layers").to_dict("records")
        differences += [
            Difference(title, whole[0]["scores"], cut["scores"])
            for cut in cuts
            if whole and min(len(whole[0]["scores"]), len(cut["scores"])) > 1
        ]
    below = sum(one.interval().low > 0 for one in differences)
    above = sum(one.interval(len(differences)).high < 0 for one in differences)
    said = f"{below} of {len(differences)} cuts on {_tasks(measured.points)} are clearly below the whole model, "
    return _verdict(all_above(differences), said + f"{above or 'none'} clearly above.")


def strategies_near(known: Mapping[str, Measured]) -> Verdict:
    """Claim 2."""
    measured = known[""]
    count = third(measured.num_hidden_layers)
    names = _possible(measured, count, "bottom")
    scores = scores_at(measured, names, count)
    differences = _differences(scores, combinations(names, 2))
    return _verdict(all_near(differences, NEAR_POINTS), _span(measured, scores, names, count))


def top_loses_least(known: Mapping[str, Measured]) -> Verdict:
    """Claim 3."""
    measured = known[""]
    count = half(measured.num_hidden_layers)
    names = _possible(measured, count)
    scores = scores_at(measured, names, count)
    differences = _differences(scores, [("top", name) for name in names if name != "top"])
    return _verdict(all_above(differences), _span(measured, scores, names, count))


def bottom_is_worst(known: Mapping[str, Measured]) -> Verdict:
    """Claim 10."""
    measured = known[""]
    count = half(measured.num_hidden_layers)
    names = _possible(measured, count)
    scores = scores_at(measured, names, count)
    differences = _differences(scores, [(name, "bottom") for name in names if name != "bottom"])
    return _verdict(all_above(differences), _span(measured, scores, names, count))


def top_equals_distilled(known: Mapping[str, Measured]) -> Verdict:
    """Claim 4."""
    measured = known[""] if known[""].distilled_title else known[BERT]
    count = half(measured.num_hidden_layers)
    differences = []
    for title, table in measured.points.items():
        top = table[(table["strategy"] == "top") & (table["drop_count"] == count)].to_dict("records")
        other = measured.distilled.get(title, {})
        if top and min(len(top[0]["scores"]), len(other)) > 1:
            differences.append(Difference(title, tuple(top[0]["scores"]), tuple(other.values())))
    parts = [f"{one.name} {_points(one.interval())}" for one in differences]
    said = f"{measured.title}, {count} dropped by top, minus {measured.distilled_title}: {', '.join(parts)}."
    return _verdict(all_near(differences, NEAR_POINTS), said)


def xlnet_loses_little(known: Mapping[str, Measured]) -> Verdict:
    """Claim 5."""
    measured = known[XLNET]
    count = third(measured.num_hidden_layers)
    scores = scores_at(measured, ("whole", "top"), count)
    differences = _differences(scores, [("whole", "top")])
    if not differences:
        return _verdict(UNMEASURED, "")
    loss = differences[0].interval()
    verdict = HOLDS if loss.high < HARDLY_POINTS else FAILS if loss.low > HARDLY_POINTS else NOISE
    on = _tasks(tasks_with(measured, ["top"], count))
    return _verdict(verdict, f"{measured.title} on {on}: a loss of {_points(loss)}.")


def some_task_bears_half(known: Mapping[str, Measured]) -> Verdict:
    """Claim 6."""
    measured = known[""]
    count = half(measured.num_hidden_layers)
    differences = []
    for title in tasks_with(measured, ["top"], count):
        alone = Measured(measured.title, measured.num_hidden_layers, {title: measured.points[title]})
        if scores := scores_at(alone, ("whole", "top"), count):
            differences.append(Difference(title, scores["whole"], scores["top"]))
    least = sorted(differences, key=lambda one: one.interval().mean)
    said = f"{count} dropped by top: " + ", ".join(f"{one.name} {_points(one.interval())}" for one in least[:3])
    return _verdict(any_below(differences, HARDLY_POINTS), f"{said} lost.")


def half_the_time(known: Mapping[str, Measured]) -> Verdict:
    """Claim 7; the spread is that of repeated timings."""
    measured = known[""]
    verdicts = []
    for name in ("fine-tuning", "inference"):
        ratio = measured.speedups.get(name)
        if ratio is None:
            verdicts.append(UNMEASURED)
        else:
            verdicts.append(HOLDS if ratio.low >= LEAST_SPEEDUP else FAILS if ratio.high < LEAST_SPEEDUP else NOISE)
    parts = [f"{name} {r.mean:.2f} ({r.low:.2f} to {r.high:.2f})" for name, r in measured.speedups.items()]
    return _verdict(combined(verdicts), f"Times as fast with half the layers: {', '.join(parts)}.")


def xlnet_level_bert_falls(known: Mapping[str, Measured]) -> Verdict:
    """Claim 8, by classifiers on the layers of the fine-tuned models, as in the paper."""
    parts, verdicts = [], []
    for model in (XLNET, BERT):
        table = known[model].probes
        if table.empty or table["seed"].nunique() < 2:
            return _verdict(UNMEASURED, "")
        by_layer = table.pivot_table(index="seed", columns="layer", values="score")
        drop = seed_interval(list(100 * (by_layer.iloc[:, -1] - by_layer[LEVEL_LAYER])))
        level = HOLDS if drop.high < HARDLY_POINTS else FAILS if drop.low > HARDLY_POINTS else NOISE
        verdicts.append(level if model == XLNET else {HOLDS: FAILS, FAILS: HOLDS}.get(level, level))
        parts.append(f"{known[model].title} {_points(drop)}")
    return _verdict(combined(verdicts), f"From layer {LEVEL_LAYER} to the last: {', '.join(parts)} gained.")


def where_tuning_changes(known: Mapping[str, Measured]) -> Verdict:
    """Claim 9: BERT's similarity falls from lower half to upper; XLNet's last layer changes more than those below."""
    parts, verdicts = [], []
    for model in (BERT, XLNET):
        table = known[model].probes
        if table.empty or table["seed"].nunique() < 2:
            return _verdict(UNMEASURED, "")
        by_layer = table.pivot_table(index="seed", columns="layer", values="similarity")
        total = known[model].num_hidden_layers
        last = by_layer[total]
        upper = by_layer[list(range(total // 2 + 1, total + 1))].mean(axis=1)
        lower = by_layer[list(range(1, total // 2 + 1))].mean(axis=1)
        below_last = by_layer[list(range(total - total // 3, total))].mean(axis=1)
        change = seed_interval(list(lower - upper if model == BERT else below_last - last))
        verdicts.append(HOLDS if change.low > 0 else FAILS if change.high < 0 else NOISE)
        what = "lower half less upper half" if model == BERT else "layers below the last less the last"
        parts.append(f"{known[model].title}, {what}: {change.mean:.2f} ({change.low:.2f} to {change.high:.2f})")
    return _verdict(combined(verdicts), f"Similarity to before fine-tuning. {'; '.join(parts)}.")


CLAIMS = (
    Claim(
        1,
        "Every cut model scores below the whole one.",
        cuts_below_whole,
        needs=lambda total: tuple((name, k) for k in (third(total), half(total)) for name in reachable(total, k)),
    ),
    Claim(
        2,
        "With a third of the layers gone all strategies but bottom are near one another.",
        strategies_near,
        needs=lambda total: tuple((name, third(total)) for name in reachable(total, third(total)) if name != "bottom"),
    ),
    Claim(
        3,
        "With half of the layers gone top loses least.",
        top_loses_least,
        needs=lambda total: tuple((name, half(total)) for name in reachable(total, half(total))),
    ),
    Claim(
        4,
        "Top with half of the layers gone equals the distilled model of that depth.",
        top_equals_distilled,
        needs=lambda total: (("top", half(total)),),
        distilled=True,
    ),
    Claim(
        5,
        "XLNet loses hardly anything with a third of its layers gone.",
        xlnet_loses_little,
        models=(XLNET,),
        needs=lambda total: (("top", third(total)),),
    ),
    Claim(
        6,
        "Some tasks lose hardly anything with half of the layers gone.",
        some_task_bears_half,
        needs=lambda total: (("top", half(total)),),
    ),
    Claim(
        7,
        "Half of the layers gone halves the time of fine-tuning and of inference.",
        half_the_time,
        needs=lambda total: (("top", half(total)),),
    ),
    Claim(
        8,
        "XLNet stays level down to its seventh layer, BERT falls steadily.",
        xlnet_level_bert_falls,
        models=(XLNET, BERT),
    ),
    Claim(
        9,
        "Fine-tuning changes BERT's upper layers most; XLNet's upper layers little, but the last.",
        where_tuning_changes,
        models=(BERT, XLNET),
    ),
    Claim(
        10,
        "Bottom is the worst choice.",
        bottom_is_worst,
        needs=lambda total: tuple((name, half(total)) for name in reachable(total, half(total))),
    ),
)


# =============================================================================
# Sentences
# =============================================================================


def ledger_sentence(verdicts: Sequence[Verdict], title: str, recipe: str) -> str:
    """How many of the claims came out which way."""
    counts = {name: sum(one.verdict == name for one in verdicts) for name in VERDICTS}
    verb = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not hold", "do not hold"),
        NOISE: ("is within noise", "are within noise"),
        UNMEASURED: ("is not measured", "are not measured"),
    }
    parts = [f"{count} {verb[name][count != 1]}" for name, count in counts.items() if count]
    joined = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"Of the paper's {len(verdicts)} claims {joined}, with {title} and recipe {recipe}."


def _verdict(verdict: str, measured: str) -> Verdict:
    return Verdict(verdict, "" if verdict == UNMEASURED else measured)


def _points(interval: Interval) -> str:
    return f"{interval.mean:.1f} points ({interval.low:.1f} to {interval.high:.1f})"


def _tasks(titles: Iterable[str]) -> str:
    found = list(titles)
    return found[0] if len(found) == 1 else f"{len(found)} tasks"


def _span(measured: Measured, scores: Mapping[str, tuple[float, ...]], names: Sequence[str], drop_count: int) -> str:
    """Every strategy's mean with its interval, the best first."""
    intervals = {name: seed_interval(values) for name, values in scores.items()}
    ranked = sorted(intervals, key=lambda name: -intervals[name].mean)
    parts = [
        f"{name.replace('-', ' ')} {100 * i.mean:.1f} ± {50 * (i.high - i.low):.1f}"
        for name in ranked
        if (i := intervals[name])
    ]
    on = _tasks(tasks_with(measured, names, drop_count))
    return f"{measured.title} on {on}, {drop_count} of {measured.num_hidden_layers} dropped: {', '.join(parts)}."
