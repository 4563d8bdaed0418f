"""Trying a shortcut: whatever goes wrong with one, there is a plain way that gives the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from pmb.engine.shortage import is_shortage

Result = TypeVar("Result")


def attempt(name: str, shortcut: Callable[[], Result | None]) -> Result | None:
    """What the shortcut gives; None where it gives nothing or raises, which is printed to standard error.

    A shortage of memory is raised: the plain way needs as much, and has nothing to add.
    """
    try:
        return shortcut()
    except Exception as error:  # of a module that only looks like the one that the shortcut was written for
        if is_shortage(error):
            raise
        print(f"{name} is not taken: {describe(error)}", file=sys.stderr)
        return None


def describe(error: Exception) -> str:
    """The kind of the error and the first line of its message."""
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {first_line}"
