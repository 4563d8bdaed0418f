"""The shortest way to a sure answer: which fine-tuning to do next, and when to stop.

Three published parts. Successive halving (Jamieson and Talwalkar, 2016; asynchronous: Li et al., 2020) tries many cuts
with few epochs and the better ones with more, where a third of the recipe's epochs is one at least. What is measured
next is the cut with the greatest expected improvement under a constraint (Schonlau, Welch and Jones, 1998; Gardner et
al., 2014): layers saved times the chance that the cut keeps to the goal. And the verdict rests on runs of the full
recipe alone, by a sequential test: intervals of differences whose level is divided by the number of looks (Bonferroni).

An answer is sure when every smaller cut is clearly beyond the goal: were one of them within, the test of that very one
would have to err, so that their number needs no correction (Berger, 1982). That a cut is within is said of the
best-looking of many; that level is divided by their number too. Nothing is taken for granted about depth: a cut is
left out for what was measured or foretold of itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean

from pmb.insight import predict
from pmb.insight.evidence import Answers, Cut, Evidence, points_of
from pmb.insight.intervals import TAIL
from pmb.insight.promise import LOSS_POINTS, SPREAD_POINTS, Expected, expectations

SURE, UNDECIDABLE, SPENT, FAILED = "sure", "not decidable", "budget spent", "failed"
WITHIN, BEYOND, FORETOLD, OPEN, CLOSE, BROKEN = "within", "beyond", "foretold beyond", "open", "too close", "failed"

MOST_SEEDS = 5  # of one cut
HALVING = 3  # a third of the cuts goes on, with three times the epochs
TOLERANCE_POINTS = 1.0  # of cuts that are small enough one is the best where none is better by more
SEED_POINTS = 1.0  # spread over seeds, for the order of runs alone, until a cut has two
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Goal:
    """The smallest model that loses at most `points`; or, of those with at most `most_layers`, the best."""

    points: float | None = None
    most_layers: int | None = None

    def __post_init__(self) -> None:
        if (self.points is None) == (self.most_layers is None):
            raise ValueError(f"A goal is a loss in points or a number of layers, one of them: {self}.")


@dataclass(frozen=True, slots=True)
class Run:
    """A fine-tuning."""

    cut: Cut
    seed: int
    epochs: int


@dataclass(frozen=True, slots=True)
class Band:
    """A score that was foretold, with its 95 % band; a share, as all scores are."""

    low: float
    mean: float
    high: float


def bands(
    frozen: Mapping[Cut, float], scores: Mapping[Cut, Sequence[float]], num_hidden_layers: int, metric: str
) -> dict[Cut, Band]:
    """What previews foretell, calibrated by what has been measured; nothing before that is enough.

    `frozen`: scores of the frozen features; `scores`: those of runs of the full recipe, a seed each.
    """
    measured = {cut: fmean(found) for cut, found in scores.items()}
    calibration = predict.calibrate(frozen, measured)
    if calibration is None:
        return {}
    table = predict.predictions(frozen, measured, calibration, num_hidden_layers, metric)
    columns = (table[name] for name in ("kept_layers", "low", "predicted", "high"))
    return {cut: Band(*ends) for cut, *ends in zip(*columns, strict=True)}


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched, on which dev sentences and with how many epochs."""

    goal: Goal
    candidates: tuple[Cut, ...]  # without the whole model
    num_hidden_layers: int
    metric: str
    labels: Answers
    epochs: int  # of the full recipe
    predicted: Mapping[Cut, Band] = field(default_factory=dict)
    most_seeds: int = MOST_SEEDS
    tries_few_epochs: bool = True  # not where the whole model, which they are measured by, fails with few

    @property
    def rungs(self) -> tuple[int, ...]:
        """With how many epochs cuts are tried, the full recipe's last."""
        return rungs(self.epochs) if self.tries_few_epochs else (self.epochs,)

    @property
    def whole(self) -> Cut:
        """The cut that drops nothing."""
        return tuple(range(self.num_hidden_layers))

    @property
    def eligible(self) -> tuple[Cut, ...]:
        """The cuts that may be the answer."""
        most = self.num_hidden_layers if self.goal.most_layers is None else self.goal.most_layers
        return tuple(cut for cut in self.candidates if len(cut) <= most)

    @property
    def threshold(self) -> float:
        """The difference in points, from the whole model or from the best so far, that counts."""
        return TOLERANCE_POINTS if self.goal.points is None else -self.goal.points


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be used and what has been, in runs or in seconds; `cost`: of a run to come."""

    limit: float
    spent: float
    cost: Callable[[Run], float]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a cut stands: points lost against the whole model, with an interval at the level of the search.

    `score`, `loss` and the ends are NaN where they are not known; the ends need two seeds of some cut. `tried`: with
    how many epochs, fewer than the recipe's, at most; these decide nothing.
    """

    cut: Cut
    seeds: int
    score: float
    loss: float
    low: float
    high: float
    state: str
    tried: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Where a search stands: what to do next, or the verdict. `answer`: the best guess until it is sure."""

    next_runs: tuple[Run, ...]
    verdict: str  # SURE, UNDECIDABLE, SPENT, FAILED; empty while it goes on
    answer: Cut | None
    standings: tuple[Standing, ...]


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs of successive halving, fewest first and the full recipe last: each a third of the next."""
    found = [epochs]
    while found[0] // HALVING >= 1:
        found.insert(0, found[0] // HALVING)
    return tuple(found)


def decide(
    question: Question,
    measured: Mapping[Run, Answers],
    running: Collection[Run],
    failed: Collection[Cut],
    budget: Budget,
    at_once: int = 1,
) -> Step:
    """The next runs, so many at most with those that go on already, or the verdict."""
    known = _Known(question, measured, failed)
    if question.whole in failed:
        return Step((), FAILED, None, known.standings)
    verdict = known.verdict()
    next_runs: tuple[Run, ...] = ()
    if not verdict:
        wanted = [run for run in known.wanted(budget) if run not in running]
        next_runs = _affordable(wanted, budget, max(0, at_once - len(running)))
        verdict = "" if next_runs or running else SPENT
    return Step(next_runs, verdict, known.answer(), known.standings)


def _affordable(wanted: Sequence[Run], budget: Budget, most: int) -> tuple[Run, ...]:
    """The first of them, for as long as the budget lasts."""
    chosen: list[Run] = []
    spent = budget.spent
    for run in wanted[:most]:
        spent += budget.cost(run)
        if spent > budget.limit * (1 + 1e-9):  # sums of thirds
            break
        chosen.append(run)
    return tuple(chosen)


class _Known:
    """What the runs of a search tell."""

    def __init__(self, question: Question, measured: Mapping[Run, Answers], failed: Collection[Cut]) -> None:
        self.question, self.failed = question, failed
        by_epochs: dict[int, dict[Cut, dict[int, Answers]]] = defaultdict(lambda: defaultdict(dict))
        for run, answers in measured.items():
            by_epochs[run.epochs][run.cut][run.seed] = answers
        self.full = Evidence(question.metric, question.labels, by_epochs[question.epochs])
        self.fewer = {
            epochs: {
                cut: points_of(question.metric, question.labels, list(runs.values()))
                for cut, runs in by_epochs[epochs].items()
            }
            for epochs in question.rungs[:-1]
        }
        looks = 2 * question.most_seeds - 1  # each further seed of either side is one
        self.selected_level = (1 - TAIL) / looks / max(1, len(question.eligible))
        # Against the best-looking of many the level is that of a selected cut, too.
        self.level = self.selected_level if question.goal.points is None else (1 - TAIL) / looks
        self.reference = self._reference()
        found = [self._standing(cut) for cut in question.eligible]
        order = {BEYOND: 1, FORETOLD: 1, BROKEN: 2}
        self.standings = tuple(
            sorted(found, key=lambda one: (len(one.cut), order.get(one.state, 0), not one.seeds, one.loss, one.cut))
        )
        self.expected = self._expected()

    def seeds(self, cut: Cut) -> int:
        """How many runs of the full recipe have ended."""
        return len(self.full.seeds(cut))

    def _reference(self) -> Cut | None:
        """What the others are tested against: the whole model, or the best so far of those that are small enough."""
        if self.question.goal.points is not None:
            return self.question.whole if self.seeds(self.question.whole) else None
        measured = [cut for cut in self.question.eligible if self.seeds(cut)]
        return max(measured, key=self.full.mean, default=None)

    def _standing(self, cut: Cut) -> Standing:
        count, loss, low, high = self.seeds(cut), math.nan, math.nan, math.nan
        if count and self.seeds(self.question.whole):
            against = self.full.difference(cut, self.question.whole)
            reach = against.reach(self.level)
            loss, low, high = -against.mean, -against.mean - reach, -against.mean + reach
        score = self.full.mean(cut) / 100 if count else math.nan
        tried = max((epochs for epochs, points in self.fewer.items() if cut in points), default=0)
        return Standing(cut, count, score, loss, low, high, self._state(cut), tried)

    def _state(self, cut: Cut) -> str:
        reference, threshold = self.reference, self.question.threshold
        if cut in self.failed:
            return BROKEN
        if reference is None:
            return OPEN
        if cut == reference:
            return WITHIN
        if not self.seeds(cut):
            band = self.question.predicted.get(cut)
            beyond = band is not None and 100 * band.high < self.full.mean(reference) + threshold
            return FORETOLD if beyond else OPEN
        found, fewest = self.full.difference(cut, reference), min(self.seeds(cut), self.seeds(reference))
        beyond = found.mean < threshold
        level = self.level if beyond else self.selected_level
        distance = abs(found.mean - threshold)
        # Two seeds of each: of one that varies more than the others a single seed would tell nothing.
        if fewest > 1 and distance > found.reach(level):
            return BEYOND if beyond else WITHIN
        if fewest >= self.question.most_seeds:
            return CLOSE
        # Where the sentences alone leave it open, more seeds will not close it.
        sentences_alone = NORMAL.inv_cdf(1 - level) * found.sentence_error
        return CLOSE if fewest > 1 and distance + found.seed_error < sentences_alone else OPEN

    @property
    def bound(self) -> int:
        """Only cuts of fewer layers than this can change the verdict."""
        total = self.question.num_hidden_layers
        if self.question.goal.points is None:
            return total
        sure = min((len(one.cut) for one in self.standings if one.state == WITHIN), default=total)
        close = min((len(one.cut) for one in self.standings if one.state == CLOSE), default=total)
        return min(sure, close + 1)

    def verdict(self) -> str:
        """SURE or UNDECIDABLE where nothing is open that matters; empty where something is."""
        matter = {one.state for one in self.standings if len(one.cut) < self.bound}
        if OPEN in matter or not self.seeds(self.question.whole):
            return ""
        return UNDECIDABLE if CLOSE in matter else SURE

    def answer(self) -> Cut | None:
        """The smallest cut that is more likely within than not, and of those the best; or the best small enough."""
        if self.question.goal.points is None or self.reference is None:
            return self.reference
        likely = [
            one.cut
            for one in self.standings
            if one.state == WITHIN
            or (one.seeds and one.state in (OPEN, CLOSE) and self.expected[one.cut].mean >= self.question.threshold)
        ]
        fewest = min(map(len, likely), default=0)
        smallest = [cut for cut in likely if len(cut) == fewest]
        return max(smallest, key=lambda cut: self.expected[cut].mean, default=self.question.whole)

    def wanted(self, budget: Budget) -> list[Run]:
        """Runs in the order in which they are worth most; the whole model first, since all is measured by it."""
        first = [] if self.seeds(self.question.whole) else [Run(self.question.whole, 0, self.question.epochs)]
        return first + (self._of_few_epochs(budget) or self._by_value())

    def _of_few_epochs(self, budget: Budget) -> list[Run]:
        """What successive halving still wants, rung by rung; at most half of the budget is for its first rung.

        Few epochs tell nothing more of a cut of which there is a run of the full recipe.
        """
        ladder, whole = self.question.rungs, self.question.whole
        cuts = [cut for cut in self.question.eligible if cut not in self.failed]
        value = self._values()
        for below, epochs in zip((0, *ladder), ladder[:-1], strict=False):
            tried = self.fewer[epochs]
            cuts = [cut for cut in cuts if cut in tried or not self.seeds(cut)]
            if below:
                cuts = [cut for cut in cuts if cut in self.fewer[below]]
                most = math.ceil(len(cuts) / HALVING)
            else:
                each = max(budget.cost(Run(cut, 0, epochs)) for cut in (whole, *cuts))
                most = int(min(len(cuts), budget.limit / 2 / each - 1)) if each else len(cuts)
            cuts = sorted(cuts, key=lambda cut: (cut not in tried, -value[cut]))[: max(0, most)]
            missing = [cut for cut in (whole, *cuts) if cut not in tried]
            if cuts and missing:
                return [Run(cut, 0, epochs) for cut in missing]
        return []

    def _by_value(self) -> list[Run]:
        """Runs of the full recipe: of the most valuable open cuts, or of what these are compared with."""
        value, most = self._values(), self.question.most_seeds
        open_cuts = [one.cut for one in self.standings if one.state == OPEN and len(one.cut) < self.bound]
        runs: dict[Run, None] = {}
        for cut in sorted(open_cuts, key=lambda cut: (-value[cut], len(cut), cut)):
            of, count = cut, self.seeds(cut)
            # A further seed of a cut tells little while what it is compared with has no more of them.
            if self.reference is not None and count and self.seeds(self.reference) < min(count + 1, most):
                of = self.reference
            used = self.full.seeds(of)
            seed = next(seed for seed in range(len(used) + 1) if seed not in used)
            runs[Run(of, seed, self.question.epochs)] = None
        return list(runs)

    def _values(self) -> dict[Cut, float]:
        """The expected improvement by each cut: in layers saved, or in points gained."""
        if self.question.goal.points is not None:
            total, threshold = self.question.num_hidden_layers, self.question.threshold
            return {cut: (total - len(cut)) * one.chance(threshold) for cut, one in self.expected.items()}
        best = self.expected[self.reference].mean if self.reference is not None else -LOSS_POINTS
        return {cut: one.gain(best) for cut, one in self.expected.items()}

    def _expected(self) -> dict[Cut, Expected]:
        """What is expected of each cut beside the whole model, by all that was measured and foretold."""
        question, whole = self.question, self.question.whole
        measured, foretold = {}, {}
        for cut in question.eligible:
            if (few := self._few_epochs_say(cut)) is not None:
                foretold[cut] = Expected(few, SPREAD_POINTS)
            if self.seeds(whole):
                base = self.full.mean(whole)
                if cut in question.predicted and cut not in foretold:
                    band = question.predicted[cut]
                    error = 100 * (band.high - band.low) / 2 / NORMAL.inv_cdf(TAIL)
                    foretold[cut] = Expected(100 * band.mean - base, error)
                if self.seeds(cut):
                    measured[cut] = self._measured(cut)
        return expectations(question.eligible, question.num_hidden_layers, measured, foretold)

    def _measured(self, cut: Cut) -> Expected:
        found = self.full.difference(cut, self.question.whole)
        if not math.isnan(found.seed_error):
            return Expected(found.mean, found.error)
        over_seeds = SEED_POINTS**2 * (1 / self.seeds(cut) + 1 / self.seeds(self.question.whole))
        return Expected(found.mean, math.sqrt(found.sentence_error**2 + over_seeds))

    def _few_epochs_say(self, cut: Cut) -> float | None:
        """The difference from the whole model at the greatest number of epochs below the recipe's that both have."""
        for epochs in sorted(self.fewer, reverse=True):
            tried = self.fewer[epochs]
            if cut in tried and self.question.whole in tried:
                return tried[cut] - tried[self.question.whole]
        return None
