"""What an evolution is asked for, held against what it can be."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from hpcflow.errors import RequestError


def check_count(what: str, count: Any, *, at_least: int, option: str) -> None:
    """Refuse what is no whole number, or too small a one.

    Parameters
    ----------
    what
        What was asked for, as a verb.
    count
        The value of the option.
    at_least
        The smallest that will do.
    option
        Its name.

    Raises
    ------
    RequestError
        If it will not do.
    """
    if not _is_whole(count) or count < at_least:
        raise RequestError(
            f"cannot {what} with {option} = {count!r}: it is a whole number, {at_least} or more."
            f" Correct `{option}`."
        )


def check_number(what: str, number: Any, *, above: float, option: str) -> None:
    """Refuse what is no number, or not above a bound.

    Raises
    ------
    RequestError
        If it will not do.
    """
    if not _is_number(number) or not number > above:
        raise RequestError(
            f"cannot {what} with {option} = {number!r}: it is a number, more than {above:g}."
            f" Correct `{option}`."
        )


def check_callable(option: str, given: Any, *, form: str) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    RequestError
        If `given` is not callable: says which form the option has.
    """
    if not callable(given):
        raise RequestError(
            f"cannot use {given!r} as `{option}`: a {type(given).__name__} is not callable. Give a"
            f" function {form}."
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
