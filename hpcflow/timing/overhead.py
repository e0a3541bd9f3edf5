"""The three overheads of Table 1 in Coletti, Davidson & Sedova (2022), for each slot.

Their workers ran one task at a time on one GPU each: a worker there is a slot here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hpcflow.core.event import AnyEvent, SessionClosed, SessionOpened
from hpcflow.timing.attempt import AttemptFold, Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of one figure over the slots [s]."""

    mean_s: float
    deviation_s: float
    """Over slots, with n - 1; NaN for fewer than two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads:
    """What slots waited for around their attempts.

    A slot counts once in each session in which it ran something; slots that ran nothing have no
    first and last attempt, and do not count.
    """

    slots: int
    """Slots counted, over all sessions."""
    start: Spread
    """From the session's opening to the slot's first start."""
    end: Spread
    """From the slot's last finish to the session's close (its last event, if killed)."""
    between: Spread
    """All time between the slot's attempts, summed for each slot."""


@dataclass(slots=True)
class _Slot:
    first: float = math.inf
    last: float = -math.inf
    busy: float = 0.0

    def take(self, batch: Batch) -> None:
        self.first = min(self.first, *batch.started)
        self.last = max(self.last, *batch.finished)
        self.busy += math.fsum(batch.finished) - math.fsum(batch.started)


class OverheadFold:
    """Fold a session's opening, attempts and end; holds three numbers a slot."""

    def __init__(self) -> None:
        self._opened = math.nan
        self._slots: dict[str, _Slot] = {}
        self._start: list[float] = []
        self._end: list[float] = []
        self._between: list[float] = []

    def open(self, at: float) -> None:
        """Begin a session."""
        self._opened = at

    def take(self, batches: Iterable[Batch]) -> None:
        """Add attempts of that session."""
        for batch in batches:
            if batch.keys:
                self._slots.setdefault(batch.slot, _Slot()).take(batch)

    def close(self, at: float) -> None:
        """End the session, and count its slots."""
        for slot in self._slots.values():
            self._start.append(slot.first - self._opened)
            self._end.append(at - slot.last)
            self._between.append(slot.last - slot.first - slot.busy)
        self._slots.clear()

    def result(self) -> Overheads | None:
        """Return the overheads, or None where no slot ran anything."""
        if not self._start:
            return None
        return Overheads(
            slots=len(self._start),
            start=_spread(self._start),
            end=_spread(self._end),
            between=_spread(self._between),
        )


def overheads_of(events: Iterable[AnyEvent], *, now: float | None = None) -> Overheads | None:
    """Return the overheads of every slot, or None where no slot ran anything.

    Parameters
    ----------
    events
        The whole journal, in order.
    now
        The time [s since the epoch] where the run is live; see `hpcflow.timing.attempt`.
    """
    attempts, overheads = AttemptFold(), OverheadFold()
    for event in events:
        before = attempts.last_at
        was_open = attempts.opened
        overheads.take(attempts.apply(event))
        match event:
            case SessionOpened():
                if was_open:
                    overheads.close(before)
                overheads.open(event.at)
            case SessionClosed():
                overheads.close(event.at)
            case _:
                pass
    if attempts.opened:
        end = attempts.last_at if now is None else now
        overheads.take(attempts.cut_off(end) if now is None else attempts.under_way(end))
        overheads.close(end)
    return overheads.result()


def _spread(values: list[float]) -> Spread:
    count = len(values)
    mean = math.fsum(values) / count
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Spread(
        mean_s=mean, deviation_s=math.sqrt(squares / (count - 1)) if count > 1 else math.nan
    )
