"""How many tasks travel together, and how many chunks wait at a slot.

Chunks of a stage start at one task and grow geometrically until one lasts about `TARGET_S`;
toward the end of a stage they shrink by guided self-scheduling (Polychronopoulos & Kuck 1987), so
that no slot ends far after the others, but not below `FLOOR_S` of work, where sending costs more
than it evens out. Tasks longer than `ALONE_S` go one by one, with nothing parked behind them.

Everything is counted in cost: 1 a task, unless the driver says what each of them costs.

Where the tasks of a stage are of different kinds, the last ones say little of the next. There a
chunk is as large as the longest of late allow, never more than a fair share of what waits, and no
work is too little to be sent to an idle slot.
"""

from __future__ import annotations

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
_LEAST_S = 1e-7
"""A chunk counts as no shorter than this [s]: clocks tell no less."""


class Chunker:
    """The chunk size of one stage, fed with durations as they are learnt."""

    __slots__ = ("_duration", "_grown", "_mixed")

    def __init__(self, *, mixed: bool = False) -> None:
        """Begin without knowledge; `mixed` if tasks may be of different kinds."""
        self._duration = Duration()
        self._grown = 1.0
        self._mixed = mixed

    @property
    def learnt(self) -> bool:
        """Whether a chunk is back."""
        return self._duration.estimate_s is not None

    def expected_s(self, cost: float) -> float:
        """Return how long a task of that cost is expected to take [s]; endless if unknown."""
        estimate = self._each_s
        return float("inf") if estimate is None else cost * estimate

    @property
    def _each_s(self) -> float | None:
        """What chunks are sized by, for a cost of 1 [s]; None if nothing is known."""
        duration = self._duration
        return duration.longest_s if self._mixed and self.learnt else duration.estimate_s

    def longest_s(self, cost: float) -> float:
        """Return how long a task of that cost may take [s], by the longest of late."""
        return cost * self._duration.longest_s

    def depth(self, cost: float = 1.0) -> int:
        """Return how many chunks a slot may hold if the next task has that cost.

        Two where handing over would otherwise leave the slot idle.
        """
        return 2 if self.expected_s(cost) < ALONE_S else 1

    @property
    def size(self) -> float:
        """Cost of the next chunk while the stage has plenty."""
        return self._grown

    def learn(self, work_s: float, cost: float) -> None:
        """Take in a finished chunk: how long its tasks took in all [s], and what they cost."""
        if cost <= 0:
            return
        before = self._grown if self.learnt else 0.0
        self._duration.learn(max(work_s, _LEAST_S) / cost)
        estimate = self._each_s
        assert estimate is not None, "learn sets it"
        self._grown = min(TARGET_S / estimate, max(before, cost * GROWTH))

    def cut(self, waiting: float, slots: int, *, exhausted: bool) -> float:
        """Return how much of the `waiting` cost the next chunk takes; it has a task at least.

        Parameters
        ----------
        waiting
            Cost of the tasks that could be sent now.
        slots
            Slots that share them.
        exhausted
            Whether no more will come.
        """
        share = waiting / (max(slots, 1) * (2 if exhausted or self._mixed else 1))
        estimate = self._each_s
        floor = 0.0 if estimate is None or self._mixed else FLOOR_S / estimate
        return min(self._grown, max(share, floor))
