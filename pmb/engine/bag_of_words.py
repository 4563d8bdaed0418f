"""What a task's dev items score without any layer: a bag of words, and one answer given to all of them.

The bag of words is TF-IDF of lower-cased words with scikit-learn's settings, and logistic regression (C = 1), or ridge
regression (alpha = 1) where the labels are numbers. The features of a pair are those of its first text, those of its
second text, the products of the two, which are greater than 0 for the words that both texts share, and the sum of these
products, which is the cosine of the two texts.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import scipy.sparse
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

import pmb
from pmb import scoring
from pmb.catalog.tasks import Task
from pmb.engine.examples import Example
from pmb.spec import Score, ZeroLayers

WORD = r"(?u)\b\w+\b"  # scikit-learn's own pattern leaves out words of one letter
MOST_ITERATIONS = 1000

Answers = list[int | float]
Predict = Callable[[Sequence[Example]], Answers]


def zero_layers(task: Task, train: Sequence[Example], dev: Mapping[str, Sequence[Example]]) -> ZeroLayers:
    """Fit on the train items and score on each dev set. `dev`: by name; the name of the task's own is empty."""
    start = time.perf_counter()
    answer = constant_answer(train, bool(task.labels))
    bag = fit_bag_of_words(train, bool(task.labels))
    bag_scores, constant_scores = [], []
    for name, items in dev.items():
        metrics = task.metrics if not name else (task.metric,)
        bag_scores += _scores(name, metrics, items, bag(items))
        constant_scores += _scores(name, metrics, items, [answer] * len(items))
    return ZeroLayers(
        bag_of_words=tuple(bag_scores),
        constant=tuple(constant_scores),
        num_train=len(train),
        num_dev=len(dev[""]),
        seconds=time.perf_counter() - start,
        versions={"python": platform.python_version(), "scikit-learn": sklearn.__version__, "pmb": pmb.__version__},
    )


def constant_answer(train: Sequence[Example], classes: bool) -> int | float:
    """The most frequent label of the train items, the lowest of equals; their mean where the labels are numbers."""
    labels = [item.label for item in train]
    if not classes:
        return mean(labels)
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def fit_bag_of_words(train: Sequence[Example], classes: bool) -> Predict:
    """A bag of words that answers like the train items.

    It gives the constant answer where there is nothing to learn: no words, or one label.
    """
    words = TfidfVectorizer(token_pattern=WORD)
    labels = [item.label for item in train]
    try:
        words.fit([text for item in train for text in item.texts])
    except ValueError:  # the texts have no words
        labels = []
    if len(set(labels)) < 2:
        answer = constant_answer(train, classes)
        return lambda items: [answer] * len(items)
    estimator: Any = LogisticRegression(max_iter=MOST_ITERATIONS) if classes else Ridge()
    estimator.fit(_features(words, train), labels)
    return lambda items: list(estimator.predict(_features(words, items)).tolist())


def _features(words: TfidfVectorizer, items: Sequence[Example]) -> Any:
    """A sparse matrix, (items, features)."""
    blocks = [words.transform(texts) for texts in zip(*(item.texts for item in items), strict=True)]
    if len(blocks) == 2:
        shared = blocks[0].multiply(blocks[1])
        blocks += [shared, scipy.sparse.csr_matrix(shared.sum(axis=1))]
    return scipy.sparse.hstack(blocks, format="csr")


def _scores(name: str, metrics: Sequence[str], items: Sequence[Example], answers: Answers) -> list[Score]:
    """The scores of one dev set; those of another than the task's own carry its name, as in a run's result."""
    labels = [item.label for item in items]
    found = [scoring.score(metric, labels, answers) for metric in metrics]
    return [Score(f"{one.metric}, {name}" if name else one.metric, one.value, one.low, one.high) for one in found]
