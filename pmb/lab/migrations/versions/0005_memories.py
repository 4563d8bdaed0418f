"""Peak memory of fine-tunings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "memories",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("machine", sa.Text, primary_key=True),
        sa.Column("peak_megabytes", sa.Float, nullable=False),
        sa.Column("idle_megabytes", sa.Float, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
