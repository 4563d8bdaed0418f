"""What models answered to sentences that somebody typed, in words and as tables.

Of a task with labels an answer is the probability of each, of another one number. The models are called A, B and C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from pmb.spec import Tried

Sides = Mapping[str, Tried]


def choice(answer: Sequence[float]) -> int:
    """The index of the likeliest label."""
    return max(range(len(answer)), key=answer.__getitem__)


def in_words(answer: Sequence[float], labels: Sequence[str]) -> str:
    """Such as "positive, 93 %"; of a regression "3.21"."""
    if not labels:
        return f"{answer[0]:.2f}"
    best = choice(answer)
    return f"{labels[best]}, {100 * answer[best]:.0f} %"


def answer_sentence(sides: Sides, labels: Sequence[str]) -> str:
    """What the models answered, in a sentence: to one text in full, to several how often they agree."""
    names, count = list(sides), len(next(iter(sides.values())).answers)
    if count == 1:
        said = ", ".join(f"{name} {in_words(one.answers[0], labels)}" for name, one in sides.items())
        if len(names) == 1 or not labels:
            return f"The answer: {said}."
        same = len({choice(one.answers[0]) for one in sides.values()}) == 1
        return f"The same answer: {said}." if same else f"They differ: {said}."
    if len(names) == 1:
        return f"{names[0]} answers {count} sentences."
    every = f"{', '.join(names[:-1])} and {names[-1]}"
    if not labels:
        apart = max(max(values) - min(values) for values in _numbers(sides))
        return f"{every} answer {count} sentences, at most {apart:.2f} apart."
    parted = sum(len({choice(one.answers[text]) for one in sides.values()}) > 1 for text in range(count))
    if not parted:
        return f"{every} give the same answer to each of {count} sentences."
    return f"{every} differ on {parted} of {count} sentences."


def _numbers(sides: Sides) -> list[tuple[float, ...]]:
    return list(zip(*((answer[0] for answer in one.answers) for one in sides.values()), strict=True))


def answers_table(
    sides: Sides, texts: Sequence[Sequence[str]], labels: Sequence[str], true: Sequence[float | None]
) -> pd.DataFrame:
    """A row a text: the text, the true answer where one is known, and each model's."""
    names = [None if one is None else labels[int(one)] if labels else f"{one:.2f}" for one in true]
    table: dict[str, list[str | None]] = {"sentence": [" / ".join(parts) for parts in texts]}
    if any(names):
        table["true"] = names
    for name, one in sides.items():
        table[name] = [in_words(answer, labels) for answer in one.answers]
    return pd.DataFrame(table)


def probabilities(sides: Sides, text: int, labels: Sequence[str]) -> pd.DataFrame:
    """The answers to one text: `side`, `label` and `value`, a probability; of a regression a number, without label."""
    return pd.DataFrame(
        {"side": name, "label": label, "value": value}
        for name, one in sides.items()
        for label, value in zip(labels or ("",), one.answers[text], strict=True)
    )


def forming(sides: Sides, text: int, kept_layers: Mapping[str, Sequence[int]], label: int) -> pd.DataFrame:
    """How the answer to one text forms: a row a model and layer, with the probability of one label, or the number.

    `step` counts the layers passed, `layer` is its number in the whole model; in the last row, `layer` is empty and
    `value` what the model itself answers.
    """
    rows = []
    for name, one in sides.items():
        kept = kept_layers[name]
        for step, (layer, values) in enumerate(zip(kept, one.layers[text], strict=True), 1):
            rows.append({"side": name, "step": step, "layer": str(layer), "value": values[label]})
        rows.append({"side": name, "step": len(kept), "layer": "", "value": one.answers[text][label]})
    return pd.DataFrame(rows)
