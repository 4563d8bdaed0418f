"""What tasks score without any layer of a model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "zero_layers",
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("task_revision", sa.Text, primary_key=True),
        sa.Column("train_items", sa.Integer, primary_key=True),
        sa.Column("sample", sa.Text, primary_key=True),
        sa.Column("bag_of_words", sa.JSON, nullable=False),
        sa.Column("constant", sa.JSON, nullable=False),
        sa.Column("num_train", sa.Integer, nullable=False),
        sa.Column("num_dev", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
