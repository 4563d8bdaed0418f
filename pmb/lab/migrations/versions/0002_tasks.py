"""Several scores a run, how it was trained, and models and tasks that were looked into."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Runs of before have one score, were cut before they were tuned, and took the quicker forward pass."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("procedure", sa.Text, nullable=False, server_default="cut-tune"))
        runs.add_column(sa.Column("scores", sa.JSON))
        runs.add_column(sa.Column("fast", sa.Boolean))
    op.create_table(
        "sources",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("inspected_at", sa.Float, nullable=False),
    )
