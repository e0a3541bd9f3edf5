"""Figures and foreign text as people read them."""

from __future__ import annotations

import datetime
import re

_MINUTE = 60
_HOUR = 3600
_DAY = 86400
_ROUND_FROM = 100


def one_line(text: str, limit: int = 200) -> str:
    r"""Return the first line of `text` that says something, without control characters.

    Examples
    --------
    >>> one_line("\n  no force field \x1b[31mfor\x1b[0m ZN\nsecond line")
    'no force field ?[31mfor?[0m ZN'
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    clean = "".join(letter if letter.isprintable() else "?" for letter in first)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """Return a length of time in the units that suit it.

    Examples
    --------
    >>> [duration(value) for value in (0.00042, 3.14159, 75, 7325, 200000)]
    ['0.42 ms', '3.14 s', '1 min 15 s', '2 h 02 min', '2 d 07 h']
    """
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds else "0 s"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02d} h"


def count(number: int) -> str:
    """Return a whole number with its thousands set apart.

    Examples
    --------
    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def rate(per_second: float | None) -> str:
    """Return a number of tasks in the unit of time that suits it.

    Examples
    --------
    >>> [rate(value) for value in (None, 1250.0, 2.5, 0.2, 0.001)]
    ['unknown', '1,250/s', '2.5/s', '12/min', '3.6/h']
    """
    if per_second is None:
        return "unknown"
    if per_second >= 1:
        return f"{per_second:,.0f}/s" if per_second >= _ROUND_FROM else f"{per_second:.3g}/s"
    per_minute = per_second * _MINUTE
    return f"{per_minute:.3g}/min" if per_minute >= 1 else f"{per_second * _HOUR:.3g}/h"


def instant(at: float) -> str:
    """Return a time as local date and time."""
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at: float, now: float) -> str:
    """Return a time as local time of day, with the date where that is not today's."""
    moment = datetime.datetime.fromtimestamp(at).astimezone()
    today = datetime.datetime.fromtimestamp(now).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def percent(share: float) -> str:
    """Return a share from 0 to 1 in percent.

    Examples
    --------
    >>> percent(0.98765), percent(0.00012)
    ('98.8 %', '0.0 %')
    """
    return f"{100 * share:.1f} %"


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value.

    Examples
    --------
    >>> sorted(["w10-2", "w9-10", "w9-2"], key=natural)
    ['w9-2', 'w9-10', 'w10-2']
    """
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(digits) if digits else -1, word) for digits, word in parts]
