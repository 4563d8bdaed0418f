"""Ways from one page to another that show the same things there: the address of a page says all that it shows."""

from __future__ import annotations

from dataclasses import dataclass

from pmb.spec import PROCEDURES


@dataclass(frozen=True, slots=True)
class Link:
    """A page, by its file, with its address."""

    file: str
    label: str
    icon: str
    query: dict[str, str]


def to_explore(
    label: str, model: str, strategy: str, drop_count: int, recipe: str, task: str = "", procedure: str = PROCEDURES[0]
) -> Link:
    """A cut on Explore; on the task chosen before where none is named."""
    query = {"model": model, "strategy": strategy, "k": str(drop_count), "recipe": recipe, "procedure": procedure}
    return Link("pages/explore_page.py", label, ":material/show_chart:", query | ({"task": task} if task else {}))


def to_try(label: str, task: str, a: str, b: str) -> Link:
    """Two configurations, by their names, that answer beside each other."""
    return Link("pages/try_page.py", label, ":material/chat:", {"task": task, "a": a, "b": b})


def to_compare(label: str, task: str, a: str, b: str) -> Link:
    """Two configurations, by their names, beside each other."""
    return Link("pages/compare_page.py", label, ":material/balance:", {"task": task, "a": a, "b": b})
