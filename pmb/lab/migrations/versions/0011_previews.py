"""What a classifier reads off the frozen features of each cut, and what more strategies choose layers by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Two tables."""
    op.create_table(
        "previews",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("model_revision", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("task_revision", sa.Text, primary_key=True),
        sa.Column("train_sentences", sa.Integer, primary_key=True),
        sa.Column("dev_sentences", sa.Integer, primary_key=True),
        sa.Column("schema", sa.Integer, primary_key=True),
        sa.Column("kept", sa.Text, primary_key=True),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
    op.create_table(
        "block_scores",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("model_revision", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("task_revision", sa.Text, primary_key=True),
        sa.Column("sentences", sa.Integer, primary_key=True),
        sa.Column("strategy", sa.Text, primary_key=True),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
