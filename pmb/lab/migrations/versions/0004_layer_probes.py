"""What was measured on the layers of fine-tuned whole models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "layer_probes",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_revision", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("task_revision", sa.Text, nullable=False),
        sa.Column("num_hidden_layers", sa.Integer, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("recipe_values", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("renewed_at", sa.Float),
        sa.Column("progress", sa.JSON),
        sa.Column("error", sa.Text),
        sa.Column("metric", sa.Text),
        sa.Column("score", sa.JSON),
        sa.Column("similarity", sa.JSON),
        sa.Column("tuned", sa.JSON),
        sa.Column("pretrained", sa.JSON),
        sa.Column("num_train", sa.Integer),
        sa.Column("num_dev", sa.Integer),
        sa.Column("device", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("versions", sa.JSON),
        sa.Column("measured_at", sa.Float),
    )
