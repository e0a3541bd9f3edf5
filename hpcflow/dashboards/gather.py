"""Read a run once, and keep what its report draws."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcflow.core.event import AnyEvent, SessionClosed, SessionOpened, TasksSucceeded
from hpcflow.core.state import RunState
from hpcflow.dashboards.molecular import SegmentFold
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.text import natural
from hpcflow.journal.directory import RunDirectory
from hpcflow.timing.attempt import Batch, Ended
from hpcflow.timing.ledger import Ledger, LedgerFold
from hpcflow.timing.overhead import OverheadFold, Overheads

ENDINGS = tuple(Ended)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Every attempt in columns. Times are in held time: seconds in which a session was open."""

    slot: Ints
    """Index into `slots`."""
    stage: Ints
    """Index into `stages`."""
    ended: Ints
    """Index into `ENDINGS`."""
    number: Ints
    """Which try, from 1."""
    start: Floats
    end: Floats
    keys: Sequence[str]
    slots: Sequence[str]
    stages: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSession:
    """A session's place in held time."""

    number: int
    opened: float
    """When it opened [s since the epoch]."""
    begin: float
    """Sessions before it lasted so long together [s]."""
    end: float
    """Together with it [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a report draws."""

    source: RunSource
    """The run, read up to the same event as everything else."""
    ledger: Ledger
    overheads: Overheads | None
    attempts: Attempts
    sessions: Sequence[HeldSession]
    segments: SegmentFold

    @property
    def state(self) -> RunState:
        """Stages, slots, sessions and the latest failures."""
        return self.source.state

    @property
    def held_s(self) -> float:
        """Length of the axis of held time [s]."""
        sessions = max((session.end for session in self.sessions), default=0.0)
        return max(sessions, float(self.attempts.end.max(initial=0.0)))


@dataclass(slots=True)
class _Columns:
    """Attempts of all sessions, growing; times in held time."""

    slot: array[int] = field(default_factory=lambda: array("i"))
    stage: array[int] = field(default_factory=lambda: array("i"))
    ended: array[int] = field(default_factory=lambda: array("i"))
    number: array[int] = field(default_factory=lambda: array("i"))
    start: array[float] = field(default_factory=lambda: array("d"))
    end: array[float] = field(default_factory=lambda: array("d"))
    keys: list[str] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)

    def take(self, batch: Batch, shift: float) -> None:
        count = len(batch.keys)
        slot = self.slots.setdefault(batch.slot, len(self.slots))
        stage = self.stages.setdefault(batch.stage, len(self.stages))
        self.slot.extend([slot] * count)
        self.stage.extend([stage] * count)
        self.ended.extend([ENDINGS.index(batch.ended)] * count)
        self.number.extend([batch.attempt] * count)
        self.start.extend([at + shift for at in batch.started])
        self.end.extend([at + shift for at in batch.finished])
        self.keys.extend(batch.keys)

    def attempts(self) -> Attempts:
        slots = sorted(self.slots, key=natural)
        place = np.empty(len(slots), dtype=np.int32)
        place[[self.slots[name] for name in slots]] = np.arange(len(slots), dtype=np.int32)
        return Attempts(
            slot=place[np.asarray(self.slot, dtype=np.int32)],
            stage=np.asarray(self.stage, dtype=np.int32),
            ended=np.asarray(self.ended, dtype=np.int32),
            number=np.asarray(self.number, dtype=np.int32),
            start=np.asarray(self.start),
            end=np.asarray(self.end),
            keys=self.keys,
            slots=slots,
            stages=list(self.stages),
        )


class _Gatherer:
    """Folds every event into everything at once, so that the journal is read only once."""

    def __init__(self) -> None:
        self.ledger = LedgerFold()
        self.overheads = OverheadFold()
        self.segments = SegmentFold()
        self.columns = _Columns()
        self.sessions: list[HeldSession] = []
        self._opened = math.nan
        self._held = 0.0

    def apply(self, event: AnyEvent) -> None:
        last, was_open = self.ledger.attempts.last_at, self.ledger.attempts.opened
        self._take(self.ledger.apply(event))
        match event:
            case TasksSucceeded():
                self.segments.apply(event)
            case SessionOpened():
                if was_open:
                    self._end(last)
                self._opened = event.at
                self.overheads.open(event.at)
            case SessionClosed() if was_open:
                self._end(event.at)
            case _:
                pass

    def finish(self, source: RunSource, *, now: float | None) -> Gathered:
        open_still, last = self.ledger.attempts.opened, self.ledger.attempts.last_at
        ledger, batches = self.ledger.ledger(now=now)
        self._take(batches)
        if open_still:
            self._end(last if now is None else max(now, last))
        return Gathered(
            source=source,
            ledger=ledger,
            overheads=self.overheads.result(),
            attempts=self.columns.attempts(),
            sessions=self.sessions,
            segments=self.segments,
        )

    def _take(self, batches: Sequence[Batch]) -> None:
        self.overheads.take(batches)
        for batch in batches:
            self.columns.take(batch, self._held - self._opened)

    def _end(self, at: float) -> None:
        self.overheads.close(at)
        begin, self._held = self._held, self._held + max(0.0, at - self._opened)
        self.sessions.append(
            HeldSession(
                number=len(self.sessions) + 1, opened=self._opened, begin=begin, end=self._held
            )
        )


def gather(directory: RunDirectory, *, now: float) -> Gathered:
    """Read a run from its beginning, once.

    Parameters
    ----------
    directory
        The run.
    now
        The time, up to which a live run is held [s since the epoch].

    Raises
    ------
    JournalError
        If the journal cannot be read, or is damaged.
    """
    source, gatherer = RunSource(directory), _Gatherer()
    source.refresh(also=gatherer.apply)
    return gatherer.finish(source, now=now if source.live else None)
