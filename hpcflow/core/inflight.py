"""What each slot has in hand, from the events alone: sent and not back.

Only the driver's side is known: a slot runs what it was sent in that order, one task at a time.
So the first of a slot's tasks is the one that runs, and it began when it was sent or when the one
before it ended, whichever was later. That is an estimate: the true stamp comes with the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hpcflow.core.event import ChunkSent


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The attempt that a slot is held to run. Times are seconds since the epoch."""

    slot: str
    stage: str
    key: str
    attempt: int
    submitted: float
    started: float
    """Estimated."""


class InFlight:
    """Tasks sent and not back, by slot. Holds no more than the dispatch window."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[tuple[str, str], tuple[int, float]]] = {}
        self._holder: dict[tuple[str, str], str] = {}
        self._free: dict[str, float] = {}

    def send(self, event: ChunkSent) -> set[str]:
        """Take note of a chunk, and return the slots that held some of its tasks until now."""
        queue = self._queues.setdefault(event.slot, {})
        moved = set()
        for key in event.keys:
            name = (event.stage, key)
            before = self._holder.get(name)
            if before is not None:
                moved.add(before)
                del self._queues[before][name]
            self._holder[name] = event.slot
            queue[name] = (event.attempt, event.at)
        return moved

    def back(self, slot: str, stage: str, *, keys: Iterable[str], finished: float) -> None:
        """Take note that attempts ended, the last of them at `finished`."""
        queue = self._queues.setdefault(slot, {})
        for key in keys:
            name = (stage, key)
            if queue.pop(name, None) is not None:
                del self._holder[name]
        self._free[slot] = max(finished, self._free.get(slot, finished))

    def running(self, slot: str) -> Running | None:
        """Return what `slot` is held to run, or None."""
        for (stage, key), (attempt, sent) in self._queues.get(slot, {}).items():
            started = max(sent, self._free.get(slot, sent))
            return Running(
                slot=slot,
                stage=stage,
                key=key,
                attempt=attempt,
                submitted=sent,
                started=started,
            )
        return None

    def all_running(self) -> Iterator[Running]:
        """Yield what each slot is held to run."""
        for slot in self._queues:
            running = self.running(slot)
            if running is not None:
                yield running

    def only_running(self, slot: str) -> None:
        """Drop what `slot` holds and has not begun: it will not, and goes elsewhere."""
        for name in list(self._queues.get(slot, ()))[1:]:
            del self._queues[slot][name]
            del self._holder[name]

    def forget(self, slot: str) -> Running | None:
        """Drop everything that `slot` holds, and return what it ran."""
        running = self.running(slot)
        for name in self._queues.pop(slot, {}):
            del self._holder[name]
        self._free.pop(slot, None)
        return running
