"""The live dispatcher: `core.dispatch` on a loop of its own, with transport, journal and inboxes.

Everything that happens is put into one mailbox. The loop empties it, lets the state machine decide,
hands chunks to the transport, writes one group of journal lines, and only then gives outcomes to
the driver: what a driver has seen is recorded.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, assert_never

from hpcflow.clock import Clock
from hpcflow.core.dispatch import (
    Cancel,
    Dispatch,
    Exhaust,
    Finish,
    Instruction,
    Join,
    Kill,
    Leave,
    Offer,
    Open,
    Return,
    Send,
    Settle,
    SettleFailure,
    Task,
    Verdict,
)
from hpcflow.core.event import (
    AttemptFailed,
    AttemptLost,
    ChunkSent,
    Event,
    PayloadRef,
    SlotJoined,
    SlotLost,
    StageClosed,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.errors import FarmError, HpcflowError, JournalError
from hpcflow.farm.stage import Inbox, Named, StageRequest
from hpcflow.farm.transport import DiskFull, GaveUp, Joined, Report, Transport
from hpcflow.journal.outcome import FinalEvent
from hpcflow.journal.writer import JournalWriter

_SYNC_S = 1.0


# ---- what the driver's threads ask for --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenStage:
    """Begin a stage."""

    request: StageRequest
    inbox: Inbox
    grant: Callable[[int], None]
    """Called on the loop with the number of further tasks that are wanted."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Give:
    """A named task of a stage."""

    stage: str
    named: Named
    created: float


@dataclass(frozen=True, slots=True)
class EndStage:
    """No further task of a stage will be given; `count` have been."""

    stage: str
    count: int


@dataclass(frozen=True, slots=True)
class CancelStage:
    """A stage's outcomes are no longer wanted."""

    stage: str
    count: int
    for_good: bool
    """Whether the journal says so; else the stage is left to be resumed."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Load an object in every runner."""

    name: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class Worker:
    """Dask has gained or given up a worker."""

    address: str
    up: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """The farm cannot go on."""

    error: HpcflowError


@dataclass(frozen=True, slots=True)
class Nudge:
    """The driver has caught up with its outcomes."""


Request = OpenStage | Give | EndStage | CancelStage | Preload | Worker | Broken | Nudge


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A farm at one instant. Tasks are counted in this session; replayed ones apart."""

    slots: int
    """Slots that take tasks now."""
    offered: int
    """Tasks read from iterables or submitted to streams."""
    succeeded: int
    failed: int
    lost: int
    retried: int
    """Attempts that failed or were lost and led to another one."""
    in_flight: int
    """Tasks offered and not settled."""


@dataclass(slots=True)
class _Open:
    asked: OpenStage
    granted: int = 0
    given: int = 0
    count: int | None = None


@dataclass(slots=True)
class _Counts:
    offered: int = 0
    succeeded: int = 0
    failed: int = 0
    lost: int = 0
    retried: int = 0


@dataclass(slots=True)
class _Group:
    """What one emptying of the mailbox leads to."""

    events: list[Event] = field(default_factory=list)
    finals: list[tuple[Inbox, FinalEvent, SlotJoined, int]] = field(default_factory=list)
    ends: list[Inbox] = field(default_factory=list)
    offers: dict[str, list[tuple[Named, Task]]] = field(default_factory=dict)


class Dispatcher:
    """Runs the farm's loop from `start` to `close`."""

    def __init__(self, *, clock: Clock, journal: JournalWriter | None, slots: int) -> None:
        """Make a dispatcher that is not running yet.

        Parameters
        ----------
        clock
            For the stamps `submitted` and `collected`.
        journal
            Where events go; None keeps no run.
        slots
            Slots asked for: when all of them have given up, the farm is broken.
        """
        self._clock = clock
        self._journal = journal
        self._wanted_slots = slots
        self._dispatch = Dispatch()
        self._stages: dict[str, _Open] = {}
        self._places: dict[str, SlotJoined] = {}
        self._refusals: dict[str, str] = {}
        self._counts = _Counts()
        self._mail: deque[Request | Report] = deque()
        self._waking = False
        self._error: HpcflowError | None = None
        self._changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="hpcflow-dispatcher", daemon=True)

    # -- from any thread

    def start(self, make_transport: Callable[[Callable[[Report], None]], Transport]) -> None:
        """Start the loop."""
        self._thread.start()
        self.call(self._begin, make_transport)

    def post(self, mail: Request | Report) -> None:
        """Put something into the mailbox."""
        self._mail.append(mail)
        if not self._waking:
            self._waking = True
            self.loop.call_soon_threadsafe(self._empty)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on the loop and return what it returns."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result()

    def statistics(self) -> Statistics:
        """Return what the farm is doing now."""
        counts = self._counts
        return Statistics(
            slots=self._dispatch.slots,
            offered=counts.offered,
            succeeded=counts.succeeded,
            failed=counts.failed,
            lost=counts.lost,
            retried=counts.retried,
            in_flight=counts.offered - counts.succeeded - counts.failed - counts.lost,
        )

    def wait_for_slots(self, count: int, *, timeout_s: float) -> None:
        """Wait until `count` slots take tasks.

        Raises
        ------
        FarmError
            If they do not come up in time, or the farm breaks.
        """
        with self._changed:
            enough = self._changed.wait_for(
                lambda: self._dispatch.slots >= count or self._error is not None, timeout_s
            )
        if self._error is not None:
            raise self._error
        if not enough:
            why = next(iter(self._refusals.values()), "no worker has reported a problem")
            raise FarmError(
                f"cannot get {count} slots within {timeout_s:g} s: {self._dispatch.slots} are up"
                f" ({why}). Wait longer, or look into the logs of the run directory."
            )

    def close(self, final: Event) -> None:
        """Record what is back and `final`, let go of the workers, and end the loop.

        Raises
        ------
        JournalError
            If the journal cannot take the last events.
        """
        try:
            self.call(self._finish, final)
        finally:
            asyncio.run_coroutine_threadsafe(self._transport.close(), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    # -- on the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._unforeseen)
        self.loop.run_forever()

    def _begin(self, make_transport: Callable[[Callable[[Report], None]], Transport]) -> None:
        self._transport = make_transport(self.post)
        if self._journal is not None:
            self.loop.call_later(_SYNC_S, self._sync, self._journal)

    def _sync(self, journal: JournalWriter) -> None:
        def done(sync: asyncio.Future[None]) -> None:
            error = None if sync.cancelled() else sync.exception()
            if isinstance(error, JournalError):
                self._break(error)
            elif self._error is None:
                self.loop.call_later(_SYNC_S, self._sync, journal)

        self.loop.run_in_executor(None, journal.sync).add_done_callback(done)

    def _finish(self, final: Event) -> None:
        self._empty()
        for stage in self._stages.values():
            stage.asked.inbox.end(
                FarmError(
                    f"cannot return further outcomes of stage {stage.asked.request.name!r}: the farm"
                    " was closed. Read them inside the `with` block."
                )
            )
        broken = isinstance(self._error, JournalError)
        self._error = self._error or FarmError("cannot use the farm: it is closed. Open another.")
        if self._journal is not None and not broken:
            self._journal.append([final])

    def _empty(self) -> None:
        """Work off the mailbox: decide, send, record, and only then deliver."""
        self._waking = False
        mail = self._mail
        if self._error is not None:
            self._turn_away(self._error)
            return
        group = _Group()
        while mail:
            self._take(mail.popleft(), group)
        for name, offers in group.offers.items():
            self._offer(name, offers, group)
        if self._journal is not None and group.events:
            try:
                self._journal.append(group.events)
            except JournalError as error:
                self._break(error)
                return
        for inbox, event, place, count in group.finals:
            inbox.put(event, place, count)
        for inbox in group.ends:
            inbox.end()
        self._grant()

    def _turn_away(self, error: HpcflowError) -> None:
        while self._mail:
            mail = self._mail.popleft()
            if isinstance(mail, OpenStage):
                mail.inbox.end(error)

    def _take(self, mail: Request | Report, group: _Group) -> None:
        match mail:
            case Return() | Leave() | Join():
                self._hear(mail, group)
            case Give():
                self._give(mail, group)
            case Joined(info):
                place = SlotJoined(
                    at=self._clock.now(),
                    slot=info.name,
                    host=info.host,
                    worker=info.worker,
                    pid=info.pid,
                    device=info.device,
                    cores=info.cores,
                    booted=info.booted,
                    preload_s=info.preload_s,
                )
                self._places[info.name] = place
                self._refusals.pop(info.name, None)
                group.events.append(place)
                self._do(self._dispatch.handle(Join(info.name)), group)
                self._notify()
            case GaveUp(slot, reason):
                self._refuse(slot, reason)
            case DiskFull(reason):
                self._break(JournalError(reason))
            case OpenStage():
                self._open(mail, group)
            case EndStage(name, count):
                self._end(name, count, group)
            case CancelStage():
                self._cancel(mail, group)
            case Preload(name, blob):
                self._transport.preload(name, blob)
            case Worker(address, up):
                change = self._transport.add_worker if up else self._transport.remove_worker
                change(address)
            case Broken(error):
                self._break(error)
            case Nudge():
                pass
            case _:
                assert_never(mail)

    def _hear(self, report: Return | Leave | Join, group: _Group) -> None:
        if isinstance(report, Leave) and report.slot in self._places:
            group.events.append(SlotLost(at=report.at, slot=report.slot, reason=report.reason))
            self._notify()
        self._do(self._dispatch.handle(report), group)

    # -- stages

    def _open(self, asked: OpenStage, group: _Group) -> None:
        request = asked.request
        self._stages[request.name] = _Open(asked)
        group.events.append(
            StageOpened(
                at=self._clock.now(),
                stage=request.name,
                kind=request.kind,
                function=getattr(request.function, "__qualname__", repr(request.function)),
                fingerprint=asked.fingerprint,
                total=request.total,
            )
        )
        self._do(self._dispatch.handle(Open(request.name, request.policy)), group)

    def _give(self, given: Give, group: _Group) -> None:
        stage = self._stages.get(given.stage)
        if stage is None:
            return
        stage.given += 1
        named = given.named
        task = Task(
            stage=given.stage, key=named.key, payload=named.payload, created=given.created
        )
        group.offers.setdefault(given.stage, []).append((named, task))

    def _offer(self, name: str, offers: list[tuple[Named, Task]], group: _Group) -> None:
        if name not in self._stages:
            return
        self._counts.offered += len(offers)
        fresh = [named for named, _ in offers if not named.known]
        if fresh:
            # a run of consecutive positions: known tasks of a resumed run come before new ones
            event = TasksOffered(
                at=self._clock.now(),
                stage=name,
                first=fresh[0].position,
                keys=[named.key for named in fresh],
                digests=[named.digest for named in fresh if named.digest],
            )
            group.events.append(event)
        self._do(self._dispatch.handle(Offer(name, [task for _, task in offers])), group)

    def _end(self, name: str, count: int, group: _Group) -> None:
        stage = self._stages.get(name)
        if stage is None:
            return
        stage.count = count
        if name in group.offers:
            self._offer(name, group.offers.pop(name), group)
        self._do(self._dispatch.handle(Exhaust(name)), group)

    def _cancel(self, cancel: CancelStage, group: _Group) -> None:
        name = cancel.stage
        stage = self._stages.pop(name, None)
        if stage is None:
            return
        group.offers.pop(name, None)
        self._counts.offered -= self._dispatch.in_flight(name)
        if cancel.for_good:
            group.events.append(
                StageClosed(at=self._clock.now(), stage=name, offered=cancel.count, cancelled=True)
            )
        group.ends.append(stage.asked.inbox)
        self._do(self._dispatch.handle(Cancel(name)), group)

    def _grant(self) -> None:
        for name, stage in self._stages.items():
            if stage.count is not None or stage.asked.inbox.full:
                continue
            under_way = stage.granted - stage.given
            room = self._dispatch.wanted(name) - under_way
            if room > 0:
                stage.granted += room
                stage.asked.grant(room)

    # -- instructions

    def _do(self, instructions: list[Instruction], group: _Group) -> None:
        for instruction in instructions:
            match instruction:
                case Send(slot, chunk):
                    now = self._clock.now()
                    for task in chunk.tasks:
                        task.submitted = now
                    group.events.append(
                        ChunkSent(
                            at=now,
                            chunk=chunk.number,
                            stage=chunk.stage,
                            slot=slot,
                            attempt=chunk.attempt,
                            keys=[task.key for task in chunk.tasks],
                        )
                    )
                    self._transport.send(slot, chunk, self._stages[chunk.stage].asked.request.call)
                case Settle():
                    self._settle(instruction, group)
                case SettleFailure():
                    self._settle_failure(instruction, group)
                case Kill(slot, number):
                    self._transport.kill(slot, number)
                case Finish(name):
                    stage = self._stages.pop(name)
                    assert stage.count is not None, "a stage finishes after its end"
                    group.events.append(
                        StageClosed(at=self._clock.now(), stage=name, offered=stage.count)
                    )
                    group.ends.append(stage.asked.inbox)
                case _:
                    assert_never(instruction)

    def _settle(self, settle: Settle, group: _Group) -> None:
        tasks = settle.tasks
        event = TasksSucceeded(
            at=self._clock.now(),
            stage=settle.chunk.stage,
            slot=settle.slot,
            attempt=settle.chunk.attempt,
            submitted=tasks[0].submitted,
            keys=[task.key for task in tasks],
            values=settle.values,
            created=[task.created for task in tasks],
            started=settle.started,
            finished=settle.finished,
            pickles={i: v for i, v in settle.stored.items() if isinstance(v, bytes)},
            payloads={i: v for i, v in settle.stored.items() if isinstance(v, PayloadRef)},
        )
        self._counts.succeeded += len(tasks)
        self._deliver(event, len(tasks), group)

    def _settle_failure(self, settle: SettleFailure, group: _Group) -> None:
        kind = _FAILURE_EVENTS[settle.verdict]
        task, failure = settle.task, settle.failure
        event = kind(
            at=self._clock.now(),
            stage=task.stage,
            key=task.key,
            slot=settle.slot,
            attempt=settle.attempt,
            created=task.created,
            submitted=task.submitted,
            started=failure.started,
            finished=failure.finished,
            cause=failure.cause,
            error=failure.error,
        )
        if isinstance(event, TaskFailed | TaskLost):
            self._counts.failed += settle.verdict is Verdict.FAILED
            self._counts.lost += settle.verdict is Verdict.LOST
            self._deliver(event, 1, group)
        else:
            self._counts.retried += 1
            group.events.append(event)

    def _deliver(self, event: FinalEvent, count: int, group: _Group) -> None:
        group.events.append(event)
        inbox = self._stages[event.stage].asked.inbox
        group.finals.append((inbox, event, self._places[event.slot], count))

    # -- trouble

    def _refuse(self, slot: str, reason: str) -> None:
        self._refusals[slot] = reason
        if self._dispatch.slots == 0 and len(self._refusals) >= self._wanted_slots:
            self._break(
                FarmError(
                    f"cannot start any of {self._wanted_slots} slots: {slot} says:\n{reason}\n"
                    "Mend the cause, then start again."
                )
            )
        self._notify()

    def _break(self, error: HpcflowError) -> None:
        """Acknowledge nothing further: every open stage ends with the error."""
        if self._error is None:
            self._error = error
        for stage in self._stages.values():
            stage.asked.inbox.end(error)
        self._notify()

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Break, rather than leave the driver waiting, on an error that nothing else handles."""
        loop.default_exception_handler(context)
        error = context.get("exception")
        if error is not None:
            self._break(FarmError(f"cannot go on: the dispatcher failed: {error!r}. Resume the run."))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


_FAILURE_EVENTS = {
    Verdict.FAILED: TaskFailed,
    Verdict.LOST: TaskLost,
    Verdict.RETRY: AttemptFailed,
    Verdict.RELOCATE: AttemptLost,
}
