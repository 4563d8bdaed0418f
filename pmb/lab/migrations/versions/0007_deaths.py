"""How often a run's own process died, and when it may be tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Two columns."""
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("deaths", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("not_before", sa.Float))
