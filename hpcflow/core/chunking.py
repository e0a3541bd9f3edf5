"""How many tasks travel together, and how many chunks wait at a slot.

Chunks of a stage start at one task and grow geometrically until one lasts about `TARGET_S`;
toward the end of a stage they shrink by guided self-scheduling (Polychronopoulos & Kuck 1987), so
that no slot ends far after the others, but not below `FLOOR_S` of work, where sending costs more
than it evens out. Tasks longer than `ALONE_S` go one by one, with nothing parked behind them.
"""

from __future__ import annotations

import math

from hpcflow.core.durations import Duration

TARGET_S = 0.05
"""Aim for the duration of a chunk [s]."""
FLOOR_S = 0.004
"""A chunk is not cut below this much work [s]."""
ALONE_S = 0.1
"""Tasks this long travel alone [s]."""
GROWTH = 4
"""Largest growth of a stage's chunks from one to the next."""
LARGEST = 10_000
"""Most tasks in a chunk: bounds what a lost slot has to do again."""


class Chunker:
    """The chunk size of one stage, fed with durations as they are learnt."""

    __slots__ = ("_duration", "_grown")

    def __init__(self) -> None:
        self._duration = Duration()
        self._grown = 1

    @property
    def depth(self) -> int:
        """Chunks a slot may hold: two where handing over would otherwise leave it idle."""
        estimate = self._duration.estimate_s
        return 2 if estimate is not None and estimate < ALONE_S else 1

    @property
    def size(self) -> int:
        """Tasks in the next chunk while the stage has plenty."""
        return self._grown

    def learn(self, mean_s: float, count: int) -> None:
        """Take in a finished chunk: its mean task duration [s] and its number of tasks."""
        self._duration.learn(mean_s)
        estimate = self._duration.estimate_s
        assert estimate is not None, "learn sets it"
        fitting = max(1, min(int(TARGET_S / estimate), LARGEST))
        self._grown = min(fitting, max(self._grown, count * GROWTH))

    def cut(self, waiting: int, slots: int, *, exhausted: bool) -> int:
        """Return how many of the `waiting` tasks the next chunk takes.

        Parameters
        ----------
        waiting
            Tasks that could be sent now.
        slots
            Slots that share them.
        exhausted
            Whether no more will come.
        """
        share = math.ceil(waiting / (max(slots, 1) * (2 if exhausted else 1)))
        estimate = self._duration.estimate_s
        floor = 1 if estimate is None else max(1, int(FLOOR_S / estimate))
        return min(self._grown, max(share, floor), waiting)
