"""The first schema: runs, layer scores, latencies, workers, shipped files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables. They are written out here, since later changes to schema.py must not change this step."""
    op.create_table(
        "runs",
        sa.Column("key", sa.String(64), primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("model", "model_revision", "task", "task_revision")),
        sa.Column("num_hidden_layers", sa.Integer, nullable=False),
        sa.Column("kept_layers", sa.JSON, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("recipe_values", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("queued_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", sa.Float),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("progress", sa.JSON),
        sa.Column("error", sa.Text),
        sa.Column("log", sa.Text),
        sa.Column("metric", sa.Text),
        sa.Column("score", sa.Float),
        sa.Column("num_dev", sa.Integer),
        sa.Column("predictions", sa.JSON),
        sa.Column("parameters", sa.Integer),
        sa.Column("whole_model_parameters", sa.Integer),
        sa.Column("megabytes", sa.Float),
        sa.Column("whole_model_megabytes", sa.Float),
        sa.Column("train_seconds", sa.Float),
        sa.Column("total_seconds", sa.Float),
        sa.Column("losses", sa.JSON),
        sa.Column("device", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("versions", sa.JSON),
    )
    op.create_index("runs_by_state", "runs", ["state", "queued_at"])
    op.create_table(
        "layer_scores",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("model", "model_revision", "task", "task_revision")),
        sa.Column("sentences", sa.Integer, primary_key=True),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
    op.create_table(
        "latencies",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("model_revision", sa.Text, primary_key=True),
        sa.Column("depth", sa.Integer, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("batch", sa.Integer, primary_key=True),
        sa.Column("length", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("ratio", "low", "high")),
        sa.Column("pairs", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("whole_seconds", "cut_seconds")),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("measured_at", sa.Float, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("heartbeat_at", sa.Float, nullable=False),
    )
    op.create_table(
        "shipped_files",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
    )
