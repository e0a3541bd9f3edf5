"""Which values survive JSON exactly, and so may stand in the journal for people to read."""

from __future__ import annotations

import itertools
import math
from typing import Any

DEEPEST = 100
"""Most levels of lists and dictionaries: deeper ones may not fit on the stack of a reader."""
_INT_RANGE = range(-(2**63), 2**64)


def is_plain(value: Any) -> bool:
    """Return whether `value` comes back from JSON equal and of the same types.

    Tuples (they come back as lists), numbers that JSON has no word for (infinities, NaN, integers
    beyond 64 bits), strings that are no Unicode text, subclasses, dictionaries with other keys
    than strings, and nests of more than `DEEPEST` levels do not.

    Examples
    --------
    >>> is_plain({"energy": -44.3, "steps": [1, 2]}), is_plain((1, 2)), is_plain(float("nan"))
    (True, False, False)
    """
    return _is_plain(value, DEEPEST)


def _is_plain(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return value in _INT_RANGE
    if kind is str:
        return _is_text(value)
    if kind is list:
        return levels > 0 and all(map(_is_plain, value, itertools.repeat(levels - 1)))
    if kind is dict:
        return (
            levels > 0
            and all(type(key) is str and _is_text(key) for key in value)
            and all(map(_is_plain, value.values(), itertools.repeat(levels - 1)))
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
