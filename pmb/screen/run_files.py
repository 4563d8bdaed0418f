"""Runs as files for other programs."""

from __future__ import annotations

import io

import pandas as pd

from pmb.lab.listing import Filter, exported_runs, flat, write_csv
from pmb.lab.store import Store


def as_csv(store: Store, chosen: Filter) -> str:
    """Those runs with all columns; no cell is a formula."""
    file = io.StringIO()
    write_csv(exported_runs(store, chosen), file)
    return file.getvalue()


def as_parquet(store: Store, chosen: Filter) -> bytes:
    """Those runs with all columns; layers are lists, what has no fixed form is JSON."""
    file = io.BytesIO()
    pd.DataFrame([flat(run) for run in exported_runs(store, chosen)]).to_parquet(file)
    return file.getvalue()
