"""Every attempt of a run, from its events: those that ended, and those that were cut off.

A driver that is killed, a stage that is cancelled and a slot that vanishes leave attempts without
an ending. A slot runs what it was sent in that order, so the first task that it held is the one
that ran; it counts as lost, from its estimated start to the moment when the slot was gone. What
was sent and not begun is no attempt.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hpcflow.core.event import (
    AnyEvent,
    AttemptFailed,
    AttemptLost,
    ChunkSent,
    SessionClosed,
    SessionOpened,
    SlotJoined,
    SlotLost,
    TaskFailed,
    TaskLost,
    TasksSucceeded,
)
from hpcflow.core.inflight import InFlight, Running
from hpcflow.core.task import Cause

CUT_OFF = "cut off"
"""Cause of an attempt whose driver, stage or slot ended before it did."""


class Ended(enum.StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    RUNNING = "running"
    """Not yet; in a live run only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a slot is."""

    host: str = ""
    worker: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Attempts that came back from one slot together, in columns of equal length.

    Times are seconds since the epoch; NaN where the driver never learnt them.
    """

    session: int
    """From 1."""
    stage: str
    slot: str
    place: Place
    attempt: int
    """Which try this was of each of the tasks, from 1."""
    ended: Ended
    cause: str
    """A `Cause`, or `cut off`; empty where it succeeded."""
    final: bool
    """Whether this settled the tasks; otherwise they wait again, or were given up."""
    keys: Sequence[str]
    created: Sequence[float]
    submitted: float
    started: Sequence[float]
    finished: Sequence[float]
    collected: float


_SETTLED = TaskFailed | TaskLost | AttemptFailed | AttemptLost
_NOWHERE = Place()


class AttemptFold:
    """Fold events with `apply`, in the journal's order; each returns the attempts it tells of."""

    def __init__(self) -> None:
        self.session = 0
        """Number of the latest session, from 1."""
        self.opened = False
        """Whether that session is open."""
        self.last_at = -math.inf
        """When the latest event of that session happened [s since the epoch]."""
        self._places: dict[str, Place] = {}
        self._gone: dict[str, float] = {}
        self._flight = InFlight()

    def apply(self, event: AnyEvent) -> list[Batch]:
        """Take in the next event."""
        match event:
            case TasksSucceeded():
                done = [self._succeeded(event)]
            case ChunkSent():
                self._flight.send(event)
                done = []
            case TaskFailed() | TaskLost() | AttemptFailed() | AttemptLost():
                done = [self._not_succeeded(event)]
            case SlotJoined():
                done = self._joined(event)
            case SlotLost():
                self._flight.only_running(event.slot)
                self._gone[event.slot] = event.at
                done = []
            case SessionClosed():
                done = self.cut_off(event.at)
                self.opened = False
            case SessionOpened():
                done = self.cut_off(self.last_at) if self.opened else []
                self._open()
            case _:
                done = []
        self.last_at = max(self.last_at, event.at)
        return done

    def cut_off(self, at: float) -> list[Batch]:
        """Return what ran when the session ended at `at`; afterwards nothing runs."""
        running, self._flight = list(self._flight.all_running()), InFlight()
        return [self._lost(one, self._gone.get(one.slot, at)) for one in running]

    def under_way(self, now: float) -> list[Batch]:
        """Return what runs in a live run, and what its slot took along."""
        return [
            self._lost(one, self._gone[one.slot])
            if one.slot in self._gone
            else self._batch(one, ended=Ended.RUNNING, cause="", finished=max(now, one.started))
            for one in self._flight.all_running()
        ]

    def running(self, stage: str) -> int:
        """Return the number of slots that are held to run a task of `stage`."""
        return sum(one.stage == stage for one in self._flight.all_running())

    def _open(self) -> None:
        self.session += 1
        self.opened = True
        self.last_at = -math.inf
        self._places.clear()
        self._gone.clear()
        self._flight = InFlight()

    def _joined(self, event: SlotJoined) -> list[Batch]:
        cut = self._flight.forget(event.slot)
        gone = self._gone.pop(event.slot, event.at)
        done = [] if cut is None else [self._lost(cut, gone)]
        self._places[event.slot] = Place(host=event.host, worker=event.worker, device=event.device)
        return done

    def _lost(self, one: Running, at: float) -> Batch:
        return self._batch(one, ended=Ended.LOST, cause=CUT_OFF, finished=max(at, one.started))

    def _batch(self, one: Running, *, ended: Ended, cause: str, finished: float) -> Batch:
        return Batch(
            session=self.session,
            stage=one.stage,
            slot=one.slot,
            place=self._places.get(one.slot, _NOWHERE),
            attempt=one.attempt,
            ended=ended,
            cause=cause,
            final=False,
            keys=(one.key,),
            created=(math.nan,),
            submitted=one.submitted,
            started=(one.started,),
            finished=(finished,),
            collected=math.nan,
        )

    def _succeeded(self, event: TasksSucceeded) -> Batch:
        finished = max(event.finished, default=event.at)
        self._flight.back(event.slot, event.stage, keys=event.keys, finished=finished)
        return Batch(
            session=self.session,
            stage=event.stage,
            slot=event.slot,
            place=self._places.get(event.slot, _NOWHERE),
            attempt=event.attempt,
            ended=Ended.SUCCEEDED,
            cause="",
            final=True,
            keys=event.keys,
            created=event.created,
            submitted=event.submitted,
            started=event.started,
            finished=event.finished,
            collected=event.at,
        )

    def _not_succeeded(self, event: _SETTLED) -> Batch:
        started = event.started
        running = self._flight.running(event.slot)
        if event.cause is Cause.SLOT_LOST and running is not None and running.key == event.key:
            started = min(started, running.started)
        self._flight.back(event.slot, event.stage, keys=(event.key,), finished=event.finished)
        return Batch(
            session=self.session,
            stage=event.stage,
            slot=event.slot,
            place=self._places.get(event.slot, _NOWHERE),
            attempt=event.attempt,
            ended=Ended.LOST if event.cause is Cause.SLOT_LOST else Ended.FAILED,
            cause=event.cause.value,
            final=isinstance(event, TaskFailed | TaskLost),
            keys=(event.key,),
            created=(event.created,),
            submitted=event.submitted,
            started=(started,),
            finished=(event.finished,),
            collected=event.at,
        )


def batches_of(events: Iterable[AnyEvent], *, now: float | None = None) -> Iterator[Batch]:
    """Yield every attempt of a run, in the order in which the journal tells of them.

    Parameters
    ----------
    events
        The whole journal, in order.
    now
        The time [s since the epoch] where the run is live: what runs then is yielded last, as
        running. Without it the last session counts as over, and what ran at its last event as
        cut off.
    """
    fold = AttemptFold()
    for event in events:
        yield from fold.apply(event)
    if fold.opened:
        yield from fold.cut_off(fold.last_at) if now is None else fold.under_way(now)
