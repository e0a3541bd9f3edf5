"""Wall times as people write them."""

from __future__ import annotations

import re

from hpcflow.errors import RequestError

_WRITTEN = re.compile(r"(?=\d)(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")
_CLOCK = re.compile(r"(?P<h>\d+):(?P<m>[0-5]\d):(?P<s>[0-5]\d)")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_walltime(text: str) -> int:
    """Return a wall time [s] that was written as `2h30m`, `90m`, `1d`, `45s` or `2:30:00`.

    Raises
    ------
    RequestError
        If it is written otherwise, or is no time at all.

    Examples
    --------
    >>> parse_walltime("2h30m"), parse_walltime("90m"), parse_walltime("02:30:00")
    (9000, 5400, 9000)
    """
    found = _WRITTEN.fullmatch(text) or _CLOCK.fullmatch(text)
    seconds = 0
    if found is not None:
        seconds = sum(_SECONDS[unit] * int(n) for unit, n in found.groupdict().items() if n)
    if not seconds:
        raise RequestError(
            f"cannot use {text!r} as a wall time: it is no time such as 2h30m, 90m or 2:30:00."
            " Write one."
        )
    return seconds


def show_walltime(seconds: int) -> str:
    """Return a wall time [s] as it is written.

    >>> show_walltime(9000), show_walltime(86_400), show_walltime(61)
    ('2h30m', '24h', '1m1s')
    """
    hours, rest = divmod(seconds, 3_600)
    parts = zip((hours, *divmod(rest, 60)), "hms", strict=True)
    return "".join(f"{count}{unit}" for count, unit in parts if count)
