"""Counts and the newest runs without reading every row."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Two indices."""
    op.create_index("runs_by_end", "runs", ["state", "finished_at"])
    op.create_index("runs_by_age", "runs", ["queued_at", "key"])
