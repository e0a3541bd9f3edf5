"""Learn how long the tasks of a stage take, for each unit of their cost."""

from __future__ import annotations

_FADES = 0.95
_LEAST = 1e-300
"""Means are no less than this, so that their reciprocals are finite."""


class Duration:
    """A running estimate of how long one stage's tasks take, in seconds for a cost of 1.

    The estimate is the harmonic mean of the last estimate and the newest mean: one chunk that was
    descheduled for a second among thousands that took a microsecond a task pulls an arithmetic
    mean up a thousandfold, and the harmonic one by at most a factor of two.

    Examples
    --------
    >>> duration = Duration()
    >>> duration.learn(0.001)
    >>> duration.learn(1.0)
    >>> round(duration.estimate_s, 6)
    0.001998
    >>> duration.longest_s
    1.0
    """

    __slots__ = ("estimate_s", "longest_s")

    def __init__(self) -> None:
        self.estimate_s: float | None = None
        """Expected duration [s]; None until the first task came back."""
        self.longest_s = 0.0
        """Longest mean of a chunk of late [s]: a bound to plan the end of the wall time with."""

    def learn(self, mean_s: float) -> None:
        """Take in the mean duration of the tasks of one chunk [s], for a cost of 1."""
        newest = max(mean_s, _LEAST)
        last = self.estimate_s
        self.estimate_s = newest if last is None else 2 / (1 / last + 1 / newest)
        self.longest_s = max(newest, _FADES * self.longest_s)
