"""The tables of the store. A change here needs a migration in migrations/versions and a new REVISION."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
)
from sqlalchemy import Text as AnyText

REVISION = "0014"

# What PostgreSQL has no place for in a text: NUL, and halves of surrogate pairs, which stand for the bytes of a file
# name that is no UTF-8. A log, an error or a name with one of them is kept, with a question mark in its place.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Text(TypeDecorator[str]):
    """A text that every database takes, whatever is in it."""

    impl: Any = AnyText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """The text with the replacement character for what cannot be stored; the same when it is searched for.

        Bytes that somebody put into the place of a text are searched for as they are.
        """
        return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


class Key(Text):
    """The hash that names a run."""

    impl = String(64)
    cache_ok = True


metadata = MetaData()

# One row a run, asked for, running or ended: the queue and the truth.
runs = Table(
    "runs",
    metadata,
    Column("key", Key, primary_key=True),
    Column("model", Text, nullable=False),
    Column("model_revision", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_revision", Text, nullable=False),
    Column("num_hidden_layers", Integer, nullable=False),
    Column("kept_layers", JSON, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("recipe_values", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("procedure", Text, nullable=False, server_default="cut-tune"),
    Column("source", Text, nullable=False),  # measured | shipped
    Column("state", Text, nullable=False),  # queued | running | done | failed | cancelled
    Column("queued_at", Float, nullable=False),  # seconds since 1970, as all times here
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("deaths", Integer, nullable=False, default=0, server_default="0"),  # of its own process
    Column("not_before", Float),  # a run whose process died waits a while
    Column("worker", Text),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("progress", JSON),
    Column("error", Text),
    Column("log", Text),
    Column("metric", Text),
    Column("score", Float),
    Column("scores", JSON),  # all metrics with their intervals; none of runs of schema 0001
    Column("num_dev", Integer),
    Column("predictions", JSON),
    Column("parameters", BigInteger),
    Column("whole_model_parameters", BigInteger),
    Column("megabytes", Float),
    Column("whole_model_megabytes", Float),
    Column("train_seconds", Float),
    Column("total_seconds", Float),
    Column("losses", JSON),
    Column("fast", Boolean),
    Column("device", Text),
    Column("machine", Text),
    Column("versions", JSON),
    Column("started_by", Text),  # e-mail address on a page with sign-in, the user of the computer by command
    Index("runs_by_state", "state", "queued_at"),  # the queue
    Index("runs_by_end", "state", "finished_at"),  # what has ended since a page was drawn
    Index("runs_by_age", "queued_at", "key"),  # the newest runs of ten thousand
    Index("runs_by_task", "task", "state", "model"),  # what a page shows, of a million
)

# Contribution scores, cached by model, data and size.
layer_scores = Table(
    "layer_scores",
    metadata,
    Column("model", Text, primary_key=True),
    Column("model_revision", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("sentences", Integer, primary_key=True),
    Column("scores", JSON, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# What other strategies choose layers by, likewise.
block_scores = Table(
    "block_scores",
    metadata,
    Column("model", Text, primary_key=True),
    Column("model_revision", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("sentences", Integer, primary_key=True),
    Column("strategy", Text, primary_key=True),
    Column("scores", JSON, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# What was measured on the layers of a whole model fine-tuned once; the key is that run's. While `state` is asked, a
# worker without runs takes the row and renews it; a row that is not renewed any more is taken again.
layer_probes = Table(
    "layer_probes",
    metadata,
    Column("key", Key, primary_key=True),
    Column("model", Text, nullable=False),
    Column("model_revision", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_revision", Text, nullable=False),
    Column("num_hidden_layers", Integer, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("recipe_values", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),  # asked | done | failed
    Column("asked_at", Float, nullable=False),
    Column("renewed_at", Float),
    Column("progress", JSON),
    Column("error", Text),
    Column("metric", Text),
    Column("score", JSON),
    Column("similarity", JSON),
    Column("tuned", JSON),
    Column("pretrained", JSON),
    Column("num_train", Integer),
    Column("num_dev", Integer),
    Column("device", Text),
    Column("machine", Text),
    Column("versions", JSON),
    Column("measured_at", Float),
)

# What a classifier reads off the frozen features of a cut, cached by model, data, sizes and how it is computed.
previews = Table(
    "previews",
    metadata,
    Column("model", Text, primary_key=True),
    Column("model_revision", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("train_sentences", Integer, primary_key=True),  # at most so many
    Column("dev_sentences", Integer, primary_key=True),
    Column("schema", Integer, primary_key=True),
    Column("kept", Text, primary_key=True),  # such as 0,1,4
    Column("metric", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("device", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# The true labels of a task's dev examples, in the order of a run's predictions.
dev_labels = Table(
    "dev_labels",
    metadata,
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("labels", JSON, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# What a bag of words and a constant answer score on the dev items of a task, by the train items that they were fitted
# on. `sample` says which of them: all, first, or those that a seed draws, such as "seed 2".
zero_layers = Table(
    "zero_layers",
    metadata,
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("train_items", Integer, primary_key=True),
    Column("sample", Text, primary_key=True),
    Column("bag_of_words", JSON, nullable=False),
    Column("constant", JSON, nullable=False),
    Column("num_train", Integer, nullable=False),
    Column("num_dev", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("source", Text, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# How many train and dev items there are of each length in tokens, as [length, items], the shortest first.
token_lengths = Table(
    "token_lengths",
    metadata,
    Column("model", Text, primary_key=True),
    Column("model_revision", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("task_revision", Text, primary_key=True),
    Column("train", JSON, nullable=False),
    Column("dev", JSON, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# Inference time by depth: which layers stay does not matter to it.
latencies = Table(
    "latencies",
    metadata,
    Column("model", Text, primary_key=True),
    Column("model_revision", Text, primary_key=True),
    Column("depth", Integer, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("batch", Integer, primary_key=True),
    Column("length", Integer, primary_key=True),
    Column("ratio", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("whole_seconds", Float, nullable=False),
    Column("cut_seconds", Float, nullable=False),
    Column("source", Text, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# Peak memory of a fine-tuning by run and what it ran on: the same run may have been measured on several machines.
memories = Table(
    "memories",
    metadata,
    Column("key", String(64), primary_key=True),  # of the run
    Column("device", Text, primary_key=True),
    Column("machine", Text, primary_key=True),
    Column("peak_megabytes", Float, nullable=False),
    Column("idle_megabytes", Float, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("source", Text, nullable=False),
    Column("measured_at", Float, nullable=False),
)

# Searches for the smallest model: what was asked, what they asked for, and what they know. While `state` is open, a
# worker asks for the next runs when one of those that it waits for has ended; `steps` counts how often that was.
searches = Table(
    "searches",
    metadata,
    Column("key", String(64), primary_key=True),  # of model, task, recipe and goal
    Column("model", Text, nullable=False),
    Column("model_revision", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_revision", Text, nullable=False),
    Column("num_hidden_layers", Integer, nullable=False),
    Column("parameters", BigInteger),  # of the whole model, where the catalog knows them
    Column("metric", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("recipe_values", JSON, nullable=False),
    Column("goal", JSON, nullable=False),  # within | speedup | megabytes, and most_layers
    Column("candidates", JSON, nullable=False),  # kept layers
    Column("budget", JSON, nullable=False),  # runs | minutes
    Column("state", Text, nullable=False),  # open | stopped | done
    Column("steps", Integer, nullable=False),
    Column("asked", JSON, nullable=False),  # keys of the runs that were queued for it
    Column("waits_for", JSON, nullable=False),  # keys of runs that go on
    Column("found", JSON),
    Column("error", Text),
    Column("started_by", Text),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)

# Models and tasks that were looked into, with a fingerprint of their files.
sources = Table(
    "sources",
    metadata,
    Column("kind", Text, primary_key=True),  # model | task
    Column("name", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("notes", JSON, nullable=False),
    Column("inspected_at", Float, nullable=False),
)

# Workers that are alive say so every second.
workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
)

# Which shipped files have been read in, by their hash.
shipped_files = Table(
    "shipped_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
)
