"""Characters that a reader would not see, or that turn the direction of what he reads."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """The text with a sign for each control character, and the mark of a lost one for what has no sign.

    Line ends and tabs are left.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return character
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
