"""A run made again beside what was stored of it: the same answers or not, and what is known of why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pmb.insight.metrics import shown

SAME_NUMBER = 1e-4  # shipped answers of a regression have 4 decimals


@dataclass(frozen=True, slots=True)
class Again:
    """Two results of the same run. `changed`: how many of `dev` answers differ; None where that is not known."""

    metric: str
    before: float
    after: float
    dev: int
    changed: int | None
    reasons: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether all answers are known to be the same."""
        return self.changed == 0


def compared(
    before: Mapping[str, Any], after: Mapping[str, Any], predictions: Sequence[int | float] | None = None
) -> Again:
    """Set a stored row beside a new result with `score`, `predictions`, `device`, `machine` and `versions`.

    `predictions`: those of the row, where they are at hand; else its `predictions_digest` tells whether they differ.
    """
    answers = after["predictions"]
    changed: int | None = None
    if predictions is not None and len(predictions) == len(answers):
        changed = sum(abs(old - new) > SAME_NUMBER for old, new in zip(predictions, answers, strict=True))
    elif before.get("predictions_digest") == digest(answers):
        changed = 0
    return Again(before["metric"], before["score"], after["score"], len(answers), changed, _reasons(before, after))


def digest(predictions: Sequence[int | float]) -> str:
    """Equal where all answers are; numbers count to 4 decimals."""
    rounded = [value if isinstance(value, int) else round(value, 4) for value in predictions]
    return hashlib.sha256(json.dumps(rounded).encode()).hexdigest()[:16]


def sentence(found: Again) -> str:
    """What came of it, with the reasons that are known."""
    if found.same:
        return f"Made again it gives the same answers on all {found.dev:,} dev examples."
    scores = f"{shown(found.metric, found.before)} then, {shown(found.metric, found.after)} now"
    why = "; ".join(found.reasons) or "no reason is known"
    if found.changed is None:
        return f"Made again its score is {scores}; {why}."
    return f"Made again {found.changed:,} of {found.dev:,} answers on dev differ ({scores}); {why}."


def _reasons(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was, and may change a result."""
    pairs = [(name, before.get(name) or "unknown", after[name]) for name in ("device", "machine")]
    then, now = before.get("versions") or {}, after["versions"]
    pairs += [(name, then.get(name, "unknown"), version) for name, version in now.items()]
    return tuple(f"{name} {old} then, {new} now" for name, old, new in pairs if old != new)
