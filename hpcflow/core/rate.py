"""How fast things happened lately, in little memory."""

from __future__ import annotations

from collections import deque

BUCKETS = 64
"""Buckets of at least a second that the rate is taken over."""


class RecentRate:
    """Counts events in buckets of at least a second, and keeps the last `BUCKETS` of them.

    The rate is taken from when counting began, or over the buckets that are left: a second in
    which nothing happens has no bucket, and so lengthens what is looked back on.

    Examples
    --------
    >>> rate = RecentRate()
    >>> rate.begin(0.0)
    >>> rate.add(4.0, 2)
    >>> rate.at(4.0), rate.at(8.0)
    (0.5, 0.25)
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._buckets: deque[tuple[float, int]] = deque()
        self._total = 0

    def begin(self, at: float) -> None:
        """Count from `at` on [s since the epoch], unless counting has begun."""
        if self._since is None:
            self._since = at

    def add(self, at: float, count: int) -> None:
        """Count `count` events at `at` [s since the epoch]."""
        self.begin(at)
        if self._buckets and at - self._buckets[-1][0] < 1.0:
            begin, before = self._buckets.pop()
            self._buckets.append((begin, before + count))
        else:
            self._buckets.append((at, count))
        self._total += count
        if len(self._buckets) > BUCKETS:
            self._total -= self._buckets.popleft()[1]
            self._since = self._buckets[0][0]

    def at(self, now: float) -> float | None:
        """Return the rate as of `now` [1/s], or None where nothing has been counted."""
        if self._since is None or now <= self._since or not self._total:
            return None
        return self._total / (now - self._since)
