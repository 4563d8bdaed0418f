"""How long tasks' items are in tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "token_lengths",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("model_revision", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("task_revision", sa.Text, primary_key=True),
        sa.Column("train", sa.JSON, nullable=False),
        sa.Column("dev", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
