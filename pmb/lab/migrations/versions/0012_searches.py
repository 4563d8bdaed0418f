"""Searches for the smallest model, which go on after a stop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "searches",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_revision", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("task_revision", sa.Text, nullable=False),
        sa.Column("num_hidden_layers", sa.Integer, nullable=False),
        sa.Column("parameters", sa.BigInteger),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("recipe_values", sa.JSON, nullable=False),
        sa.Column("goal", sa.JSON, nullable=False),
        sa.Column("candidates", sa.JSON, nullable=False),
        sa.Column("budget", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("waits_for", sa.JSON, nullable=False),
        sa.Column("found", sa.JSON),
        sa.Column("error", sa.Text),
        sa.Column("started_by", sa.Text),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
    )
