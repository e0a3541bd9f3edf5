"""Which values survive JSON exactly, and so may stand in the journal for people to read."""

from __future__ import annotations

import math
from typing import Any

_INT_RANGE = range(-(2**63), 2**64)


def is_plain(value: Any) -> bool:
    """Return whether `value` comes back from JSON equal and of the same types.

    Tuples (they come back as lists), numbers that JSON has no word for (infinities, NaN, integers
    beyond 64 bits), strings that are no Unicode text, subclasses and dictionaries with other keys
    than strings do not.

    Examples
    --------
    >>> is_plain({"energy": -44.3, "steps": [1, 2]}), is_plain((1, 2)), is_plain(float("nan"))
    (True, False, False)
    """
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return value in _INT_RANGE
    if kind is str:
        return _is_text(value)
    if kind is list:
        return all(map(is_plain, value))
    if kind is dict:
        return all(type(key) is str and _is_text(key) for key in value) and all(
            map(is_plain, value.values())
        )
    return value is None or kind is bool


def _is_text(value: str) -> bool:
    """Lone surrogates have no UTF-8 form."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
