"""The rows that come with the lab (cache/shipped), for benchmarks that replay them."""

from __future__ import annotations

import json
from typing import Any

from pmb.settings import from_environment


def shipped_rows(table: str) -> list[dict[str, Any]]:
    """The rows of a table, with predictions and labels as lists."""
    lines = (from_environment().shipped / f"{table}.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for row in rows:
        for name in ("predictions", "labels"):
            if isinstance(row.get(name), str):
                row[name] = [int(digit) for digit in row[name]]
    return rows
