"""What a limit of tokens cuts off, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from pmb.spec import LengthCounts


def longer_sentence(counts: LengthCounts, max_length: int) -> str:
    """How many train and dev items have more than `max_length` tokens; empty where none has."""
    parts, longer = [], 0
    for pairs, kind in ((counts.train, "train"), (counts.dev, "dev")):
        some, total = _longer(pairs, max_length), sum(count for _, count in pairs)
        if some:
            parts.append(f"{some:,} of {total:,} {kind} item{'s' * (total != 1)}")
        longer += some
    if not parts:
        return ""
    one = longer == 1
    rest = "its rest" if one else "the rest of each"
    return f"{' and '.join(parts)} {'is' if one else 'are'} longer than {max_length:,} tokens; {rest} is cut off."


def _longer(pairs: Sequence[tuple[int, int]], max_length: int) -> int:
    return sum(count for length, count in pairs if length > max_length)
