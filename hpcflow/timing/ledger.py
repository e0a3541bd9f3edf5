"""The slot-second ledger: what every second of every slot went to.

A session holds its slots from its opening to its close: those that joined it, and where fewer
joined than were asked for, the missing ones too. An elastic farm holds a slot only while it is up
or loads its preloads, as often as it comes and goes. Between sessions nothing is held. At each
instant of each slot exactly one of these is true, and the first that fits is its category:

useful
    An attempt runs that succeeds (or, in a live run, has not ended yet).
failed
    An attempt runs that fails: raises, crashes, overruns its time limit.
lost
    An attempt runs that is never seen to end: its slot, its stage or its driver goes.
startup
    The slot has not joined yet and its preloads have not begun. A slot that never joins stays
    here.
preload
    The last `preload_s` before it first joins.
dead
    The slot has been lost and has not joined again.
shutdown
    The session's work is over: after the last finish and the last closing of a stage, whichever
    is later. Never so in a session without a close (killed, or live).
dispatch
    A task waits: it has been offered and neither runs nor has ended. Tasks of a map with a
    known number wait from the opening of its stage, tasks of an earlier session from the moment
    when this one opens their stage, tasks to be tried again from the end of the attempt before.
starved
    None waits, and an attempt is still to start in this session (or, in a live run and after the
    last finish, a stage is open): the driver had nothing to run.
tail
    None waits, no attempt is still to start, and other slots run the last ones.

Categories are disjoint by construction and sum to the allocation exactly: times are rounded to
nanoseconds once, as they come in, and from there on are integers. Where clocks of different hosts
disagree, attempts are cut to their session, and to the end of the attempt before on their slot.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hpcflow.core.event import (
    AnyEvent,
    SessionClosed,
    SessionOpened,
    SlotJoined,
    SlotLost,
    StageClosed,
    StageOpened,
    TasksOffered,
)
from hpcflow.timing.attempt import AttemptFold, Batch
from hpcflow.timing.demand import Demand
from hpcflow.timing.partition import CATEGORIES, SessionRecord, partition


class Category(enum.StrEnum):
    """What a slot's time went to; defined at the head of this module."""

    STARTUP = "startup"
    PRELOAD = "preload"
    USEFUL = "useful"
    FAILED = "failed"
    LOST = "lost"
    DISPATCH = "dispatch"
    STARVED = "starved"
    TAIL = "tail"
    SHUTDOWN = "shutdown"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Slot seconds of a run, by category."""

    seconds: Mapping[Category, float]
    """Every category, in the order of `Category` [s]."""
    allocation_s: float
    """Slots times the time they were held, over all sessions: the sum of `seconds` [s]."""
    makespan_s: float
    """From the first session's opening to the last finish of an attempt [s]."""
    held_s: float
    """Length of all sessions together: the makespan, less the time between sessions, plus what
    came after the last finish [s]."""
    slots: int
    """Most slots that a session held."""
    sessions: int
    attempts: int

    @property
    def utilization(self) -> float:
        """Share of the allocation that was useful, from 0 to 1; 0 where nothing was held."""
        return self.share(Category.USEFUL)

    def share(self, category: Category) -> float:
        """Return the share of the allocation that went to `category`, from 0 to 1."""
        return self.seconds[category] / self.allocation_s if self.allocation_s else 0.0


class LedgerFold:
    """Fold events with `apply`, in the journal's order, then ask for the `ledger`.

    Holds 22 bytes an attempt of the session that is open, and sums of those that are over.
    """

    def __init__(self) -> None:
        self.attempts = AttemptFold()
        self._demand = Demand()
        self._record: SessionRecord | None = None
        self._sums = np.zeros(len(CATEGORIES), dtype=np.int64)
        self._held_ns = 0
        self._slots = 0
        self._attempts = 0
        self._first_open: float | None = None
        self._last_finish: float | None = None

    def apply(self, event: AnyEvent) -> list[Batch]:
        """Take in the next event, and return the attempts that it tells of."""
        before = self.attempts.last_at
        batches = self.attempts.apply(event)
        self._take(batches)
        match event:
            case SessionOpened():
                self._settle(before, closed=False)
                self._record = SessionRecord(
                    opened=event.at, asked=event.slots, elastic=event.elastic
                )
                self._demand.begin_session()
                if self._first_open is None:
                    self._first_open = event.at
            case SessionClosed():
                self._settle(event.at, closed=True)
            case _ if self._record is not None:
                self._note(event, self._record)
        return batches

    def ledger(self, *, now: float | None = None) -> tuple[Ledger, list[Batch]]:
        """Return the ledger, and the attempts that only the end of the events tells of.

        Call it once, after the last event.

        Parameters
        ----------
        now
            The time [s since the epoch] where the run is live. Without it a session without a
            close is over at its last event.
        """
        batches: list[Batch] = []
        if self._record is not None:
            last = self.attempts.last_at
            end = last if now is None else max(now, last)
            batches = self.attempts.cut_off(end) if now is None else self.attempts.under_way(end)
            self._take(batches)
            if now is not None and self._demand.any_open:
                self._record.starts_until = end
            self._settle(end, closed=False)
        return self._result(), batches

    def _result(self) -> Ledger:
        seconds = {
            Category(name): int(self._sums[code]) / 1e9 for code, name in enumerate(CATEGORIES)
        }
        makespan = 0.0
        if self._first_open is not None and self._last_finish is not None:
            makespan = max(0.0, self._last_finish - self._first_open)
        return Ledger(
            seconds={category: seconds[category] for category in Category},
            allocation_s=int(self._sums.sum()) / 1e9,
            makespan_s=makespan,
            held_s=self._held_ns / 1e9,
            slots=self._slots,
            sessions=self.attempts.session,
            attempts=self._attempts,
        )

    def _note(self, event: AnyEvent, record: SessionRecord) -> None:
        match event:
            case SlotJoined():
                record.joined(event.slot, event.at, preload_s=event.preload_s)
            case SlotLost():
                record.lost(event.slot, event.at)
            case StageOpened():
                total = event.total if event.kind == "map" else None
                record.demand(event.at, self._demand.open(event.stage, total))
            case TasksOffered():
                record.demand(event.at, self._demand.offer(event.stage, len(event.keys)))
            case StageClosed():
                running = self.attempts.running(event.stage) if event.cancelled else 0
                record.demand(event.at, self._demand.close(event, running=running))
                record.stage_closed = max(record.stage_closed, event.at)
            case _:
                pass

    def _take(self, batches: list[Batch]) -> None:
        for batch in batches:
            again = self._demand.ended(batch.stage, len(batch.keys), final=batch.final)
            if self._record is not None and batch.keys:
                self._record.attempts(batch, again=again)
                self._attempts += len(batch.keys)
                finish = max(batch.finished)
                self._last_finish = max(finish, self._last_finish or finish)

    def _settle(self, end: float, *, closed: bool) -> None:
        """Partition the session that is over at `end`, and add it to the sums."""
        if self._record is None:
            return
        parts = partition(self._record, end=end, closed=closed)
        self._sums += parts.sum(axis=0)
        self._slots = max(self._slots, len(parts))
        self._held_ns += self._record.to_ns(max(end, self._record.opened))
        self._record = None


def ledger_of(events: Iterable[AnyEvent], *, now: float | None = None) -> Ledger:
    """Return where the slots' time went.

    Parameters
    ----------
    events
        The whole journal, in order.
    now
        The time [s since the epoch] where the run is live: its last session is held until then,
        and what runs counts as useful so far. Without it, a session without a close counts as
        killed at its last event.
    """
    fold = LedgerFold()
    for event in events:
        fold.apply(event)
    return fold.ledger(now=now)[0]
