"""The glossary has what the catalog offers."""

from __future__ import annotations

from pmb.catalog.glossary import GLOSSARY
from pmb.catalog.recipes import RECIPES
from pmb.insight.metrics import METRICS
from pmb.strategies import CHOICES


def test_every_strategy_recipe_and_metric_is_in_the_glossary_once() -> None:
    names = [word.name for rows in GLOSSARY.values() for word in rows]
    assert len(names) == len(set(names))
    assert {*CHOICES, *RECIPES, *(metric.name for metric in METRICS.values())} <= set(names)
