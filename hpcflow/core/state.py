"""The state of a run: one fold of its journal behind status, watch and the progress display.

It holds counts, slots, sessions and the latest failures, and nothing per task but for those that
are in flight, so it stays small however many tasks a run has.
"""

from __future__ import annotations

from collections import deque
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
    StageClosed,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.inflight import InFlight, Running
from hpcflow.core.rate import RecentRate
from hpcflow.core.task import Cause

LATEST_FAILURES = 20
"""Failures that are held; older ones are only counted."""


@dataclass(slots=True, kw_only=True)
class StageState:
    """How far a stage is. Counts are of tasks, except `retried`."""

    stage: str
    kind: str = ""
    """`map` or `stream`."""
    function: str = ""
    total: int | None = None
    """Number of tasks, where it is known from the start."""
    offered: int = 0
    succeeded: int = 0
    failed: int = 0
    lost: int = 0
    retried: int = 0
    """Attempts that failed or were lost, and whose task was tried again."""
    running: int = 0
    closed: bool = False
    """No further task will be offered."""
    cancelled: bool = False

    @property
    def ended(self) -> int:
        """Tasks that have their outcome."""
        return self.succeeded + self.failed + self.lost

    @property
    def expected(self) -> int | None:
        """Tasks that the stage will have had when it is over, or None while that is open."""
        if self.closed:
            return self.ended if self.cancelled else max(self.offered, self.ended)
        return None if self.total is None else max(self.total, self.offered, self.ended)

    @property
    def waiting(self) -> int:
        """Tasks offered that neither run nor have ended; a cancelled stage has none."""
        return 0 if self.cancelled else max(0, self.offered - self.ended - self.running)


@dataclass(slots=True, kw_only=True)
class SlotState:
    """A slot of the latest session."""

    slot: str
    host: str
    worker: str
    pid: int
    device: str
    cores: tuple[int, ...]
    joined: float
    uuid: str = ""
    """What tells its device from all others; empty where that is unknown."""
    up: bool = True
    reason: str = ""
    """Why it is not up."""
    ended: int = 0
    """Attempts that ended on it in this session."""
    running: Running | None = None


@dataclass(slots=True, kw_only=True)
class SessionState:
    """One driver's hold on the run."""

    number: int
    """From 1."""
    opened: float
    host: str
    pid: int
    hpcflow: str
    python: str
    slots: int
    """Slots asked for."""
    replayed: int
    """Outcomes on record when it opened: they come back without running."""
    closed: float | None = None
    reason: str | None = None
    """`finished`, `interrupted` or `error: ...`; None while open, and for ever if killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureNote:
    """An attempt that did not succeed."""

    at: float
    stage: str
    key: str
    attempt: int
    slot: str
    host: str
    cause: Cause
    type: str
    message: str
    traceback: str
    final: bool
    """Whether the task's outcome is settled by it; otherwise it is tried again."""


class RunState:
    """Fold events with `apply`, in the journal's order, and read the attributes."""

    def __init__(self) -> None:
        self.run_id = ""
        self.seed: int | None = None
        self.stages: dict[str, StageState] = {}
        self.slots: dict[str, SlotState] = {}
        """Slots of the latest session."""
        self.sessions: list[SessionState] = []
        self.failures: deque[FailureNote] = deque(maxlen=LATEST_FAILURES)
        """The latest ones, newest last."""
        self.last_at: float | None = None
        """When the latest event happened [s since the epoch]."""
        self._flight = InFlight()
        self._rate = RecentRate()

    # -- reading

    @property
    def session(self) -> SessionState | None:
        """The latest session."""
        return self.sessions[-1] if self.sessions else None

    @property
    def offered(self) -> int:
        """Tasks known so far."""
        return sum(stage.offered for stage in self.stages.values())

    @property
    def succeeded(self) -> int:
        """Tasks that returned."""
        return sum(stage.succeeded for stage in self.stages.values())

    @property
    def failed(self) -> int:
        """Tasks whose outcome is a failure."""
        return sum(stage.failed for stage in self.stages.values())

    @property
    def lost(self) -> int:
        """Tasks whose slots vanished too often."""
        return sum(stage.lost for stage in self.stages.values())

    @property
    def retried(self) -> int:
        """Attempts whose task was tried again."""
        return sum(stage.retried for stage in self.stages.values())

    @property
    def running(self) -> int:
        """Tasks that run now."""
        return sum(stage.running for stage in self.stages.values())

    @property
    def ended(self) -> int:
        """Tasks that have their outcome."""
        return sum(stage.ended for stage in self.stages.values())

    @property
    def waiting(self) -> int:
        """Tasks offered that neither run nor have ended."""
        return sum(stage.waiting for stage in self.stages.values())

    @property
    def slots_up(self) -> int:
        """Slots that take tasks now."""
        return sum(slot.up for slot in self.slots.values())

    @property
    def expected(self) -> int | None:
        """Tasks that the stages so far will have had in the end, or None while one is open."""
        known = [stage.expected for stage in self.stages.values()]
        return None if None in known else sum(count for count in known if count is not None)

    def rate(self, now: float) -> float | None:
        """Return how fast tasks of this session have ended lately [1/s], or None before any has.

        Lately is what `hpcflow.core.rate` takes it to be, from when the first task was sent.
        """
        return self._rate.at(now)

    def estimated_end(self, now: float, *, total: int | None = None) -> float | None:
        """Return when the last task will have ended at the recent rate [s since the epoch].

        Parameters
        ----------
        now
            The time [s since the epoch].
        total
            Number of tasks of the whole run, where the caller knows it and the stages do not
            (streams).

        Returns
        -------
        float | None
            None without a known total or a rate; `now` when nothing is left.
        """
        whole = self.expected if total is None else max(total, self.ended)
        if whole is None:
            return None
        left = whole - self.ended
        if left <= 0:
            return now
        rate = self.rate(now)
        return None if rate is None else now + left / rate

    # -- folding

    def apply(self, event: AnyEvent) -> None:
        """Take in the next event."""
        self.last_at = event.at if self.last_at is None else max(self.last_at, event.at)
        match event:
            case TasksSucceeded():
                self._succeeded(event)
            case ChunkSent():
                self._sent(event)
            case TasksOffered():
                self._stage(event.stage).offered += len(event.keys)
            case TaskFailed() | TaskLost() | AttemptFailed() | AttemptLost():
                self._not_succeeded(event)
            case SlotJoined() | SlotLost():
                self._slot_changed(event)
            case StageOpened() | StageClosed():
                self._stage_changed(event)
            case SessionOpened():
                self._opened(event)
            case SessionClosed():
                self._closed(event)

    def end_session(self, reason: str) -> None:
        """Let go of what the latest session held: its driver is gone, and so are its slots.

        `apply` does this where the journal tells; a reader that knows the driver to be dead
        says so with this.
        """
        for slot in self.slots.values():
            slot.running = None
            if slot.up:
                slot.up, slot.reason = False, reason
        for stage in self.stages.values():
            stage.running = 0
        self._flight = InFlight()

    def _stage(self, name: str) -> StageState:
        return self.stages.setdefault(name, StageState(stage=name))

    def _opened(self, event: SessionOpened) -> None:
        self.end_session("session ended")
        self.slots.clear()
        self._rate = RecentRate()
        self.run_id, self.seed = event.run_id, event.seed
        self.sessions.append(
            SessionState(
                number=len(self.sessions) + 1,
                opened=event.at,
                host=event.host,
                pid=event.pid,
                hpcflow=event.hpcflow,
                python=event.python,
                slots=event.slots,
                replayed=self.ended,
            )
        )

    def _closed(self, event: SessionClosed) -> None:
        if self.session is not None:
            self.session.closed, self.session.reason = event.at, event.reason
        self.end_session("session closed")

    def _stage_changed(self, event: StageOpened | StageClosed) -> None:
        stage = self._stage(event.stage)
        match event:
            case StageOpened():
                stage.kind, stage.function, stage.total = event.kind, event.function, event.total
                stage.closed = stage.cancelled = False
            case StageClosed():
                stage.closed, stage.cancelled = True, event.cancelled
                stage.offered = max(stage.offered, event.offered)

    def _slot_changed(self, event: SlotJoined | SlotLost) -> None:
        match event:
            case SlotJoined():
                before = self.slots.get(event.slot)
                self._flight.forget(event.slot)
                self._refresh(event.slot)
                self.slots[event.slot] = SlotState(
                    slot=event.slot,
                    host=event.host,
                    worker=event.worker,
                    pid=event.pid,
                    device=event.device,
                    cores=event.cores,
                    joined=event.at,
                    uuid=event.uuid,
                    ended=0 if before is None else before.ended,
                )
            case SlotLost():
                self._flight.forget(event.slot)
                self._refresh(event.slot)
                slot = self.slots.get(event.slot)
                if slot is not None:
                    slot.up, slot.reason = False, event.reason

    def _sent(self, event: ChunkSent) -> None:
        self._rate.begin(event.at)
        for slot in self._flight.send(event) | {event.slot}:
            self._refresh(slot)

    def _succeeded(self, event: TasksSucceeded) -> None:
        count = len(event.keys)
        self._stage(event.stage).succeeded += count
        self._rate.add(event.at, count)
        self._back(event, event.keys, max(event.finished, default=event.at))

    def _not_succeeded(self, event: TaskFailed | TaskLost | AttemptFailed | AttemptLost) -> None:
        stage = self._stage(event.stage)
        match event:
            case TaskFailed():
                stage.failed += 1
            case TaskLost():
                stage.lost += 1
            case AttemptFailed() | AttemptLost():
                stage.retried += 1
        final = isinstance(event, TaskFailed | TaskLost)
        if final:
            self._rate.add(event.at, 1)
        slot = self.slots.get(event.slot)
        self.failures.append(
            FailureNote(
                at=event.at,
                stage=event.stage,
                key=event.key,
                attempt=event.attempt,
                slot=event.slot,
                host="" if slot is None else slot.host,
                cause=event.cause,
                type=event.error.type,
                message=event.error.message,
                traceback=event.error.traceback,
                final=final,
            )
        )
        self._back(event, [event.key], event.finished)

    def _back(
        self,
        event: TasksSucceeded | TaskFailed | TaskLost | AttemptFailed | AttemptLost,
        keys: list[str],
        finished: float,
    ) -> None:
        self._flight.back(event.slot, event.stage, keys=keys, finished=finished)
        slot = self.slots.get(event.slot)
        if slot is not None:
            slot.ended += len(keys)
        self._refresh(event.slot)

    def _refresh(self, name: str) -> None:
        """Bring what a slot is held to run, and its stage's count, up to date."""
        slot = self.slots.get(name)
        if slot is None:
            return
        if slot.running is not None:
            self._stage(slot.running.stage).running -= 1
        slot.running = self._flight.running(name) if slot.up else None
        if slot.running is not None:
            self._stage(slot.running.stage).running += 1
