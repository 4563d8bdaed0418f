"""How numbers of things are said, in every room."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """Such as "1 seed", "3 seeds" and "0.5 points"."""
    number = f"{count:g}" if isinstance(count, float) else f"{count}"
    return f"{number} {noun}{'' if count == 1 else 's'}"
