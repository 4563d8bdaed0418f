"""The runs of one model on one task without a look at all others."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """An index."""
    op.create_index("runs_by_subject", "runs", ["model", "task", "state"])
