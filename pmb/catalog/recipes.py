"""The named recipes. How their values were chosen: docs/recipes.md."""

from __future__ import annotations

from pmb.errors import unknown_name
from pmb.spec import Recipe

RECIPES = {
    row.name: row
    for row in (
        Recipe(
            name="quick",
            train_sentences=512,
            epochs=3,
            learning_rate=2e-4,
            batch_size=8,
            warmup_fraction=0.1,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=128,
            dropout=0.0,
        ),
        Recipe(
            name="standard",
            train_sentences=2000,
            epochs=2,
            learning_rate=1e-4,
            batch_size=8,
            warmup_fraction=0.1,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=128,
            dropout=0.0,
        ),
        Recipe(
            name="stable",
            train_sentences=2500,
            epochs=10,
            learning_rate=1e-4,
            batch_size=8,
            warmup_fraction=0.1,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=128,
            dropout=0.0,
        ),
    )
}


def find_recipe(recipe: str) -> Recipe:
    """The catalog's row; raises BadInput with the nearest name."""
    if recipe not in RECIPES:
        raise unknown_name("recipe", recipe, tuple(RECIPES))
    return RECIPES[recipe]
