"""JSON and values from outside, read as what they must be or refused in one sentence; msgspec does the checking.

A whole number is no text and a text no number; NaN, numbers too large for a float, halves of surrogate pairs and
nesting without end are no JSON.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from pmb.errors import BadInput

T = TypeVar("T")


def parse(content: bytes | str, what: str, halves: bool = False) -> Any:
    """The value of a JSON text; raises BadInput, whose sentence begins with `what` it is.

    `halves` of surrogate pairs are allowed: Python has them in names of files that are no UTF-8.
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError) as error:
        if halves and "surrogate" in str(error):
            return _with_halves(content, what)
        raise BadInput(f"{what} is no JSON: {reason(error)}.") from error
    except RecursionError as error:
        raise BadInput(f"{what} is no JSON that can be read: it is nested too deeply.") from error


def _with_halves(content: bytes | str, what: str) -> Any:
    def refuse(constant: str) -> None:
        raise BadInput(f"{what} is no JSON: it has {constant}.")

    try:
        return json.loads(content, parse_constant=refuse)
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what} is no JSON: {str(error) or 'it is nested too deeply'}.") from error


def read_as(form: type[T], values: object, what: str, more: bool = False) -> T:
    """Parsed JSON as a dataclass or another annotated type; raises BadInput, whose sentence begins with `what` it is.

    Names that a dataclass does not have are refused, unless `more` are allowed, such as those of a later version.
    """
    try:
        found = msgspec.convert(values, form)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"{what} cannot be used: {reason(error)}.") from error
    if not more and (unknown := _unknown(values, found)):
        raise BadInput(f"{what} cannot be used: it has {unknown!r}, which is not known here.")
    return found


def fault(form: Any, values: object) -> str:
    """Why values are not of an annotated type, without a full stop; empty where they are."""
    try:
        msgspec.convert(values, form)
    except (msgspec.ValidationError, RecursionError) as error:
        return reason(error)
    return ""


def reason(error: Exception) -> str:
    """What msgspec says, such as "expected `int`, got `str` at seed", without a full stop."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    words, _, place = str(error).partition(" - at ")
    place = place.replace("`$.", "").replace("`$", "").replace("`", "")
    words = words.removesuffix(".").replace("JSON is malformed: ", "")
    if words.startswith("Expected"):
        words = words[0].lower() + words[1:]
    return f"{words} at {place}" if place else words


def _unknown(values: object, found: object) -> str | None:
    """The first name in the values that a dataclass, or one within it, does not have."""
    if isinstance(values, Mapping) and dataclasses.is_dataclass(found):
        fields = {field.name for field in dataclasses.fields(found)}
        if extra := [str(name) for name in values if name not in fields]:
            return extra[0]
        return next(filter(None, (_unknown(values[name], getattr(found, name)) for name in values)), None)
    if isinstance(values, (list, tuple)) and isinstance(found, (list, tuple)):
        return next(filter(None, map(_unknown, values, found)), None)
    return None
