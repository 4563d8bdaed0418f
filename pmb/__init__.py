"""Poor Man's BERT Lab: how many layers of a pre-trained encoder can be thrown away, and what that brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pmb.api import plan, results, run

__all__ = ["__version__", "plan", "results", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What a notebook calls, imported when it is first asked for: every part of the lab imports this package."""
    if name not in ("plan", "results", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pmb import api

    return getattr(api, name)
