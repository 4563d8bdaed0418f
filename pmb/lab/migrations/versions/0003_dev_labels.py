"""The true labels of dev examples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "dev_labels",
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("task_revision", sa.Text, primary_key=True),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
