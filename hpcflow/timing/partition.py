"""Cut one session's slots into pieces of one category each; `ledger` defines the categories.

All times are integer nanoseconds since the session's opening.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcflow.timing.attempt import Batch, Ended

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

CATEGORIES = (
    "useful", "failed", "lost",
    "startup", "preload", "dead",
    "shutdown", "dispatch", "starved", "tail",
)  # fmt: skip
"""By code: what an attempt is, what a slot without one is, what a free slot's time is."""
USEFUL, FAILED, LOST, STARTUP, PRELOAD, DEAD, SHUTDOWN, DISPATCH, STARVED, TAIL = range(10)
PHASES = (SHUTDOWN, DISPATCH, STARVED, TAIL)
UP = len(CATEGORIES)
"""Status of a slot that takes tasks: its category is the session's phase."""
AWAY = UP + 1
"""Status of a slot that is not held: only elastic farms have such."""
NO_SPAN = -1

_CODE_OF = {
    Ended.SUCCEEDED: USEFUL,
    Ended.RUNNING: USEFUL,
    Ended.FAILED: FAILED,
    Ended.LOST: LOST,
}


class SessionRecord:
    """What a session's events say, in columns that grow as they come."""

    def __init__(self, *, opened: float, asked: int, elastic: bool = False) -> None:
        self.opened = opened
        self.asked = 0 if elastic else asked
        self.elastic = elastic
        """Whether slots are held only while they are up."""
        self.stage_closed = opened
        """When a stage last closed [s since the epoch]."""
        self.starts_until = opened
        """Further attempts are to be expected until then [s since the epoch]."""
        self._slots: dict[str, int] = {}
        self._joined: set[int] = set()
        self._status_slot = array("q")
        self._status_at = array("d")
        self._status = array("b")
        self._demand_at = array("d")
        self._demand = array("q")
        self._span_slot = array("i")
        self._span_start = array("d")
        self._span_end = array("d")
        self._span_code = array("b")
        self._span_again = array("b")

    def to_ns(self, at: float) -> int:
        """Return an instant as nanoseconds since the opening."""
        return round((at - self.opened) * 1e9)

    def joined(self, slot: str, at: float, *, preload_s: float) -> None:
        """Take note that a slot is up; its first preloads took `preload_s` before."""
        index = self._index(slot)
        if index not in self._joined or self.elastic:
            self._joined.add(index)
            self._set(index, at - max(preload_s, 0.0), PRELOAD)
        self._set(index, at, UP)

    def lost(self, slot: str, at: float) -> None:
        """Take note that a slot is gone."""
        self._set(self._index(slot), at, AWAY if self.elastic else DEAD)

    def demand(self, at: float, change: int) -> None:
        """Take note that `change` more tasks wait."""
        if change:
            self._demand_at.append(at)
            self._demand.append(change)

    def attempts(self, batch: Batch, *, again: bool) -> None:
        """Take note of attempts, and of whether their tasks wait again afterwards."""
        count = len(batch.keys)
        self._span_slot.extend([self._index(batch.slot)] * count)
        self._span_start.extend(batch.started)
        self._span_end.extend(batch.finished)
        self._span_code.extend([_CODE_OF[batch.ended]] * count)
        self._span_again.extend([again] * count)

    @property
    def slots(self) -> int:
        """Slots held: those seen, and those asked for that were not."""
        return max(len(self._slots), self.asked)

    def _index(self, slot: str) -> int:
        return self._slots.setdefault(slot, len(self._slots))

    def _set(self, index: int, at: float, status: int) -> None:
        self._status_slot.append(index)
        self._status_at.append(at)
        self._status.append(status)

    def _ns(self, times: array[float]) -> Ints:
        return np.rint((np.asarray(times) - self.opened) * 1e9).astype(np.int64)

    def columns(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return statuses, demand and spans as arrays, times in nanoseconds."""
        status = {
            "slot": np.asarray(self._status_slot),
            "at": self._ns(self._status_at),
            "code": np.asarray(self._status),
        }
        demand = {"at": self._ns(self._demand_at), "change": np.asarray(self._demand)}
        spans = {
            "slot": np.asarray(self._span_slot, dtype=np.int64),
            "start": self._ns(self._span_start),
            "end": self._ns(self._span_end),
            "code": np.asarray(self._span_code),
            "again": np.asarray(self._span_again, dtype=bool),
        }
        return status, demand, spans


def partition(record: SessionRecord, *, end: float, closed: bool) -> Ints:
    """Return each slot's nanoseconds by category code: shape (slots, categories).

    Parameters
    ----------
    record
        The session.
    end
        When it was over [s since the epoch].
    closed
        Whether the driver closed it; otherwise it has no shutdown.
    """
    length = max(0, record.to_ns(end))
    status, demand, spans = record.columns()
    phases = _phases(record, (demand, spans), length=length, closed=closed)
    spans = _apart(spans, length)
    slots = record.slots
    sums = np.zeros((slots, len(CATEGORIES)), dtype=np.int64)
    if not slots:
        return sums
    first = AWAY if record.elastic else STARTUP
    slot, begin, finish, held, ran = _pieces(slots, (status, spans), length=length, first=first)
    code = np.where(ran != NO_SPAN, ran, held)
    free = code == UP
    settled = (code != AWAY) & ~free
    np.add.at(sums, (slot[settled], code[settled]), (finish - begin)[settled])
    for phase, total in phases.between(begin[free], finish[free]):
        np.add.at(sums, (slot[free], np.int64(phase)), total)
    return sums


class _Phases:
    """The session's phase over time, and how much of each phase lies between two instants."""

    def __init__(self, edges: Ints, phase: Codes) -> None:
        self._edges = edges
        self._phase = phase

    def between(self, begin: Ints, end: Ints) -> list[tuple[int, Ints]]:
        """Return, for each phase, the time that intervals have of it."""
        first = np.searchsorted(self._edges, begin, side="right") - 1
        last = np.searchsorted(self._edges, end, side="right") - 1
        lengths = np.diff(self._edges, append=self._edges[-1])
        totals = []
        for phase in PHASES:
            here = (self._phase == phase).astype(np.int64)
            before = np.concatenate(([0], np.cumsum(here * lengths)[:-1]))
            at_end = before[last] + here[last] * (end - self._edges[last])
            at_begin = before[first] + here[first] * (begin - self._edges[first])
            totals.append((phase, at_end - at_begin))
        return totals


def _phases(
    record: SessionRecord,
    columns: tuple[dict[str, Any], dict[str, Any]],
    *,
    length: int,
    closed: bool,
) -> _Phases:
    demand, spans = columns
    again = spans["end"][spans["again"]]
    times = np.concatenate((demand["at"], spans["start"], again))
    changes = np.concatenate(
        (demand["change"], np.full(len(spans["start"]), -1), np.ones(len(again), dtype=np.int64))
    )
    last_start = max(spans["start"].max(initial=0), record.to_ns(record.starts_until))
    last_finish = spans["end"].max(initial=0)
    over = max(last_finish, record.to_ns(record.stage_closed)) if closed else length
    marks = np.array([0, last_start, last_finish, over], dtype=np.int64)
    edges = np.unique(np.clip(np.concatenate((times, marks)), 0, length))
    order = np.argsort(times, kind="stable")
    level = np.concatenate(([0], np.cumsum(changes[order])))
    waiting = level[np.searchsorted(times[order], edges, side="right")]
    phase = np.select(
        [edges >= over, waiting > 0, edges < last_start, edges < last_finish],
        [SHUTDOWN, DISPATCH, STARVED, TAIL],
        default=STARVED,
    )
    return _Phases(edges, phase.astype(np.int8))


def _apart(spans: dict[str, Any], length: int) -> dict[str, Any]:
    """Cut spans to the session, and to the end of the span before on the same slot."""
    order = np.lexsort((spans["start"], spans["slot"]))
    slot = spans["slot"][order]
    start = np.clip(spans["start"][order], 0, length)
    end = np.clip(spans["end"][order], 0, length)
    overlapping = (slot[1:] == slot[:-1]) & (start[1:] < end[:-1])
    for one in np.unique(slot[1:][overlapping]):
        here = slice(np.searchsorted(slot, one), np.searchsorted(slot, one, side="right"))
        reached = np.concatenate(([0], np.maximum.accumulate(end[here])[:-1]))
        start[here] = np.maximum(start[here], reached)
    real = end > start
    return {
        "slot": slot[real],
        "start": start[real],
        "end": end[real],
        "code": spans["code"][order][real],
    }


def _pieces(
    slots: int, columns: tuple[dict[str, Any], dict[str, Any]], *, length: int, first: int
) -> tuple[Ints, Ints, Ints, Codes, Codes]:
    """Return pieces in which nothing changes: slot, begin, end, status and span code.

    Every slot's status is `first` until its events say otherwise.
    """
    status, spans = columns
    every = np.arange(slots)
    count = len(spans["slot"])
    kept = np.full(count, UP, dtype=np.int8)
    slot = np.concatenate((every, status["slot"], spans["slot"], spans["slot"]))
    begin = np.zeros(slots, dtype=np.int64)
    at = np.concatenate((begin, np.clip(status["at"], 0, length), spans["end"], spans["start"]))
    held = np.concatenate((np.full(slots, first), status["code"], kept, kept))
    ran = np.concatenate(
        (np.full(slots + len(status["slot"]), NO_SPAN), np.full(count, NO_SPAN), spans["code"])
    )
    is_status = np.arange(len(slot)) < slots + len(status["slot"])
    is_span = ~is_status
    is_span[:slots] = True
    order = np.lexsort((at, slot))
    slot, at = slot[order], at[order]
    held = _carried(held[order], is_status[order])
    ran = _carried(ran[order], is_span[order])
    last = np.append(slot[1:] != slot[:-1], True)
    end = np.where(last, length, np.append(at[1:], length))
    return slot, at, end, held, ran


def _carried(values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Codes:
    """Return `values` with the last known one carried forward."""
    index = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    carried: Codes = values[index].astype(np.int8)
    return carried
