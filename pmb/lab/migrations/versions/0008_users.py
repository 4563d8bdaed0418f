"""Who started a run, and models of more than two thousand million parameters on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Of runs of before nobody knows it."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("started_by", sa.Text))
        for name in ("parameters", "whole_model_parameters"):
            runs.alter_column(name, type_=sa.BigInteger, existing_type=sa.Integer)
