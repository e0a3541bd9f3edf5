"""What may stand in a script: no value may end a line or hide in it."""

from __future__ import annotations

import re
import unicodedata

from hpcflow.errors import RequestError

_REFUSED = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "a byte that is no text",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@-]*")
_PATH = re.compile(r"[A-Za-z0-9_.:+@=,~/-]+")


def check_line(value: str, *, what: str) -> str:
    """Return `value` if it is one line of visible text.

    Parameters
    ----------
    value
        What the user wrote.
    what
        What it is, for the error.

    Raises
    ------
    RequestError
        If it holds a newline, another control character, a line separator, or what cannot be seen.
    """
    for position, character in enumerate(value, start=1):
        rule = _REFUSED.get(unicodedata.category(character))
        if rule is not None:
            raise RequestError(
                f"cannot use {value!r} as {what}: character {position} is {rule}"
                f" (U+{ord(character):04X}). Remove it."
            )
    return value


def check_word(value: str, *, what: str) -> str:
    """Return `value` if it can stand unquoted in a directive of any batch system.

    Raises
    ------
    RequestError
        If it is empty, begins with a dash, or holds other than letters, digits and `_.:+@-`.
    """
    check_line(value, what=what)
    if _WORD.fullmatch(value) is None:
        raise RequestError(
            f"cannot use {value!r} as {what}: batch systems take letters, digits and _.:+@- there,"
            " and no dash at the beginning. Use those."
        )
    return value


def check_directive_path(value: str, *, what: str) -> str:
    """Return `value` if every batch system reads it as the path that it is.

    They expand `%` and split at blanks in the names of output files, each in its own way.

    Raises
    ------
    RequestError
        If it holds other than letters, digits and `_.:+@=,~/-`.
    """
    check_line(value, what=what)
    if _PATH.fullmatch(value) is None:
        odd = next(character for character in value if _PATH.fullmatch(character) is None)
        raise RequestError(
            f"cannot use {value!r} as {what}: batch systems give {odd!r} in a path a meaning of"
            " their own. Choose a path of letters, digits and _.:+@=,~/-."
        )
    return value
