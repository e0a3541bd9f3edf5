"""The one place where time comes from, so that tests can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: one to record, one to measure with."""

    def now(self) -> float:
        """Return wall-clock time [s since the epoch]."""
        ...

    def monotonic(self) -> float:
        """Return a time that never goes back, from an arbitrary origin [s]."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return wall-clock time [s since the epoch]."""
        return time.time()

    def monotonic(self) -> float:
        """Return a time that never goes back, from an arbitrary origin [s]."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and the simulation.

    Examples
    --------
    >>> clock = ManualClock(start=100.0)
    >>> clock.advance(2.5)
    >>> clock.now(), clock.monotonic()
    (102.5, 102.5)
    """

    def __init__(self, start: float = 0.0) -> None:
        self._time = start

    def now(self) -> float:
        """Return the set time [s]."""
        return self._time

    def monotonic(self) -> float:
        """Return the set time [s]."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self._time += seconds
