"""The runs on a task, of one model or of all, without a look at those on others."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """The index begins with the task: Compare asks for that alone."""
    op.drop_index("runs_by_subject", "runs")
    op.create_index("runs_by_task", "runs", ["task", "state", "model"])
