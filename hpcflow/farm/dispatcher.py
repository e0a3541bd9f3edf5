"""The live dispatcher: `core.dispatch` on a loop of its own, with transport, journal and inboxes.

Everything that happens is put into one mailbox. The loop empties it, lets the state machine decide,
hands chunks to the transport, writes one group of journal lines, and only then gives outcomes to
the driver: what a driver has seen is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from hpcflow.clock import Clock
from hpcflow.core.dispatch import Dispatch
from hpcflow.core.event import Event, SlotJoined, SlotLost, StageClosed, TaskFailed, TaskLost
from hpcflow.core.instruction import (
    Chunk,
    Finish,
    Instruction,
    Kill,
    Recall,
    Send,
    Settle,
    SettleFailure,
    Verdict,
)
from hpcflow.core.resources import pool_of
from hpcflow.core.stimulus import Cancel, Exhaust, Join, Leave, Offer, Open, Return, Tick
from hpcflow.errors import FarmError, HpcflowError, JournalError, WallTimeError
from hpcflow.farm.loop import Loop
from hpcflow.farm.mail import (
    Broken,
    CancelStage,
    EndStage,
    Give,
    Nudge,
    OpenStage,
    Preload,
    Request,
    Statistics,
    Worker,
    Workload,
)
from hpcflow.farm.recording import (
    record_cancel,
    record_chunk,
    record_failure,
    record_join,
    record_offers,
    record_stage,
    record_success,
)
from hpcflow.farm.roster import Roster
from hpcflow.farm.stage import Inbox
from hpcflow.farm.transport import DiskFull, GaveUp, Joined, Report, Transport, Unforeseen
from hpcflow.farm.wire import SlotInfo
from hpcflow.journal.outcome import FinalEvent
from hpcflow.journal.writer import JournalWriter

JOIN_LIMIT_S = 300.0
"""A farm that has been without a slot for a stage for longer than this is broken [s]."""
MARGIN_S = 5.0
"""Tasks end this long before the wall time is over, so that the driver can finish [s]."""
_SYNC_S = 1.0
_TICK_S = 0.25
_LOOK_S = 5.0
_ANSWER_S = 10.0
"""A loop that does not answer within this time has ended [s]."""


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
    finals: list[tuple[Inbox, FinalEvent, SlotJoined]] = field(default_factory=list)
    ends: list[Inbox] = field(default_factory=list)


class Dispatcher:
    """Runs the farm's loop from `start` to `close`."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: JournalWriter | None,
        slots: int,
        expected: int = 1,
        join_limit_s: float | None = JOIN_LIMIT_S,
        ends_at: float | None = None,
    ) -> None:
        """Make a dispatcher that is not running yet.

        Parameters
        ----------
        clock
            For the stamps `submitted` and `collected`.
        journal
            Where events go; None keeps no run.
        slots
            Slots asked for: when all of them have given up, the farm is broken.
        expected
            Slots to read ahead for while fewer are up.
        join_limit_s
            Longest time without any slot for an open stage [s]; None waits for ever.
        ends_at
            When the wall time is over [s since the epoch], where it ever is: no task is sent that
            would not end by then.
        """
        self._clock = clock
        self._journal = journal
        self._wanted_slots = slots
        self._join_limit_s = join_limit_s
        self._ends_at = ends_at
        self._slotless_since: dict[str, float] = {}
        """Open stages that no slot takes tasks of."""
        self._dispatch = Dispatch(expected=expected)
        self._stages: dict[str, _Open] = {}
        self._places: dict[str, SlotJoined] = {}
        self._roster = Roster()
        self._awaited = 0
        """Slots that the driver waits for."""
        self._counts = _Counts()
        self._group = _Group()
        """What is being worked off."""
        self._abandoned: dict[str, int] = {}
        """Tasks of each stage that was given up, but perhaps not for good."""
        self._error: HpcflowError | None = None
        self._changed = threading.Condition()
        self._loop: Loop[Request | Report] = Loop(empty=self._empty, unforeseen=self._unforeseen)
        self.post = self._loop.post

    # -- from any thread

    def start(self, make_transport: Callable[[Callable[[Report], None]], Transport]) -> None:
        """Start the loop."""
        self._loop.start()
        self._loop.call(self._begin, make_transport)

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

    def workload(self) -> Workload | None:
        """Return what there is to do and who does nothing; None in a farm that ends or broke."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            answer: Workload | None = self._loop.call(self._workload, timeout_s=_ANSWER_S)
            return answer
        return None

    def release(self, worker: str) -> bool:
        """Let go of a worker's slots, and return True, unless one of them has a task."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            answer: bool = self._loop.call(self._release, worker, timeout_s=_ANSWER_S)
            return answer
        return False

    def wait_for_slots(self, count: int, *, timeout_s: float) -> None:
        """Wait until `count` slots take tasks.

        Raises
        ------
        FarmError
            If they do not come up in time, or the farm breaks.
        """
        self._awaited = count
        with self._changed:
            enough = self._changed.wait_for(
                lambda: self._dispatch.slots >= count or self._error is not None, timeout_s
            )
        self._awaited = 0
        if self._error is not None:
            raise self._error
        if not enough:
            raise FarmError(
                f"cannot get {count} slots within {timeout_s:g} s: {self._dispatch.slots} are up"
                f" ({self._roster.trouble}). Wait longer, or look into the logs of the run"
                " directory."
            )

    def close(self, *, for_good: bool) -> None:
        """Record what is back, let go of the workers, and end the loop.

        Parameters
        ----------
        for_good
            Whether stages that were given up stay so; else they are left to be resumed.
        """
        self._loop.call(self._finish, for_good)
        self._loop.end(self._transport.close())

    # -- on the loop

    def _begin(self, make_transport: Callable[[Callable[[Report], None]], Transport]) -> None:
        self._transport = make_transport(self.post)
        self._dispatch.partial = self._transport.partial
        if self._journal is not None:
            self._loop.call_later(_SYNC_S, self._sync, self._journal)
        self._tick()
        if self._join_limit_s is not None:
            self._loop.call_later(_LOOK_S, self._expect_slots, self._join_limit_s)

    def _tick(self) -> None:
        """Tell the state machine what time it is, and stop once nothing fits in what is left."""
        left_s = math.inf if self._ends_at is None else self._ends_at - self._clock.now() - MARGIN_S
        self.post(Tick(self._loop.time(), left_s))
        out_of_time = self._dispatch.out_of_time
        if out_of_time is not None and self._error is None:
            stage, takes_s = out_of_time
            self._break(
                WallTimeError(
                    f"cannot start further tasks of stage {stage!r}: tasks must have ended"
                    f" {MARGIN_S:g} s before the wall time has, {max(0.0, left_s):.0f} s from now,"
                    f" and the next may take {takes_s:.0f} s. What came back is recorded: submit"
                    " the run again to go on."
                )
            )
        if self._error is None:
            self._loop.call_later(_TICK_S, self._tick)

    def _expect_slots(self, limit_s: float) -> None:
        """Break, rather than wait for ever, where a stage has no slot."""
        slotless = [name for name in self._stages if not self._dispatch.slots_for(name)]
        now = self._loop.time()
        self._slotless_since = {name: self._slotless_since.get(name, now) for name in slotless}
        for name, since in self._slotless_since.items():
            if now - since > limit_s and self._error is None:
                self._break(
                    FarmError(
                        f"cannot run stage {name!r}: no slot has been there for it for"
                        f" {limit_s:g} s ({self._roster.trouble}). Look into the logs of the run"
                        " directory."
                    )
                )
        if self._error is None:
            self._loop.call_later(min(_LOOK_S, limit_s), self._expect_slots, limit_s)

    def _sync(self, journal: JournalWriter) -> None:
        if self._error is not None:
            return  # the farm is being closed, which syncs once more

        def done(sync: asyncio.Future[None]) -> None:
            error = None if sync.cancelled() else sync.exception()
            if isinstance(error, JournalError):
                self._break(error)
            elif self._error is None:
                self._loop.call_later(_SYNC_S, self._sync, journal)

        self._loop.run_beside(journal.sync).add_done_callback(done)

    def _finish(self, for_good: bool) -> None:
        self._empty()
        if for_good and self._abandoned and self._error is None and self._journal is not None:
            now = self._clock.now()
            given_up: list[Event] = [
                record_cancel(*item, at=now) for item in self._abandoned.items()
            ]
            self._append(self._journal, given_up)
        for stage in self._stages.values():
            stage.asked.inbox.end(
                FarmError(
                    f"cannot return further outcomes of stage {stage.asked.request.name!r}: the"
                    " farm was closed. Read them inside the `with` block."
                )
            )
        self._error = self._error or FarmError("cannot use the farm: it is closed. Open another.")

    def _empty(self) -> None:
        """Work off the mailbox: decide, send, record, and only then deliver."""
        mail = self._loop.mail
        if self._error is not None:
            self._turn_away(self._error)
            return
        group = self._group = _Group()
        while mail:
            self._take(mail.popleft(), group)
        self._transport.flush()
        if self._journal is not None and not self._append(self._journal, group.events):
            return
        for inbox, event, place in group.finals:
            inbox.put(event, place)
        for inbox in group.ends:
            inbox.end()
        self._group = _Group()
        self._grant()

    def _append(self, journal: JournalWriter, events: list[Event]) -> bool:
        """Write events; where that fails, break the farm and return False."""
        try:
            if events:
                journal.append(events)
        except JournalError as error:
            self._break(error)
            return False
        return True

    def _turn_away(self, error: HpcflowError) -> None:
        while self._loop.mail:
            mail = self._loop.mail.popleft()
            if isinstance(mail, OpenStage):
                mail.inbox.end(error)

    def _take(self, mail: Request | Report, group: _Group) -> None:
        match mail:
            case Return() | Leave() | Join() | Joined() | GaveUp() | DiskFull() | Unforeseen():
                self._hear(mail, group)
            case _:
                self._obey(mail, group)

    def _workload(self) -> Workload | None:
        if self._error is not None:
            return None
        demand = max(self._dispatch.demand, self._awaited)
        return Workload(demand=demand, workers=self._roster.idle_workers(self._dispatch.is_idle))

    def _release(self, worker: str) -> bool:
        self._empty()
        slots = self._roster.of_worker(worker)
        if not all(self._dispatch.is_idle(slot) for slot in slots):
            return False
        now, why = self._clock.now(), f"worker {worker} is not needed"
        self._loop.mail.extend(
            Leave(slot=slot, reason=why, at=now, on_request=True, more=slot != slots[-1])
            for slot in slots
        )
        self._empty()
        return True

    def _hear(self, report: Report, group: _Group) -> None:
        """Take in what a worker says."""
        match report:
            case Return() | Join():
                self._do(self._dispatch.handle(report), group)
            case Leave(slot=slot, reason=reason, at=at):
                if self._roster.leave(slot):
                    group.events.append(SlotLost(at=at, slot=slot, reason=reason))
                    self._notify()
                self._do(self._dispatch.handle(report), group)
            case Joined(info):
                self._join(info, group)
            case GaveUp(slot, reason):
                self._refuse(slot, reason)
            case DiskFull(reason):
                self._break(JournalError(reason))
            case Unforeseen(reason):
                self._break(FarmError(f"cannot go on: {reason}. Resume the run."))
            case _:
                assert_never(report)

    def _obey(self, request: Request, group: _Group) -> None:
        """Do what a thread of the driver asks."""
        match request:
            case Give():
                self._give(request, group)
            case OpenStage():
                self._open(request, group)
            case EndStage(name, count):
                self._end(name, count, group)
            case CancelStage():
                self._cancel(request, group)
            case Preload(name, blob):
                self._transport.preload(name, blob)
            case Worker(address, up=True, shard=shard):
                self._transport.add_worker(address, shard)
            case Worker(address):
                self._transport.remove_worker(address)
            case Broken(error):
                self._break(error)
            case Tick():
                self._do(self._dispatch.handle(request), group)
            case Nudge():
                pass
            case _:
                assert_never(request)

    def _join(self, info: SlotInfo, group: _Group) -> None:
        refusal = self._roster.join(info)
        if refusal is not None:
            self._refuse(info.name, refusal)
            return
        place = self._places[info.name] = record_join(info, at=self._clock.now())
        group.events.append(place)
        self._do(self._dispatch.handle(Join(info.name, pool_of(info.device))), group)
        self._notify()

    # -- stages

    def _open(self, asked: OpenStage, group: _Group) -> None:
        request = asked.request
        self._stages[request.name] = _Open(asked)
        group.events.append(record_stage(request, asked.fingerprint, at=self._clock.now()))
        self._do(self._dispatch.handle(Open(request.name, request.policy)), group)

    def _give(self, given: Give, group: _Group) -> None:
        stage = self._stages.get(given.stage)
        if stage is None:
            return
        for tasks in stage.asked.tray.take():
            stage.given += len(tasks)
            self._counts.offered += len(tasks)
            if self._journal is not None:
                group.events.extend(record_offers(given.stage, tasks, at=self._clock.now()))
            self._do(self._dispatch.handle(Offer(given.stage, tasks)), group)

    def _end(self, name: str, count: int, group: _Group) -> None:
        stage = self._stages.get(name)
        if stage is None:
            return
        stage.count = count
        self._do(self._dispatch.handle(Exhaust(name)), group)

    def _cancel(self, cancel: CancelStage, group: _Group) -> None:
        name = cancel.stage
        stage = self._stages.pop(name, None)
        if stage is None:
            return
        self._counts.offered -= self._dispatch.in_flight(name)
        if cancel.for_good:
            group.events.append(record_cancel(name, cancel.count, at=self._clock.now()))
        else:
            self._abandoned[name] = cancel.count
        self._transport.forget(stage.asked.request.call.number)
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
                    self._send(slot, chunk, group)
                case Settle():
                    self._settle(instruction, group)
                case SettleFailure():
                    self._settle_failure(instruction, group)
                case Kill(slot, number):
                    self._transport.kill(slot, number)
                case Recall(slot, number):
                    self._transport.recall(slot, number)
                case Finish(name):
                    self._close_stage(name, group)
                case _:
                    assert_never(instruction)

    def _send(self, slot: str, chunk: Chunk, group: _Group) -> None:
        now = self._clock.now()
        chunk.submitted = now
        group.events.append(record_chunk(slot, chunk, at=now))
        self._transport.send(slot, chunk, self._stages[chunk.stage].asked.request.call)

    def _close_stage(self, name: str, group: _Group) -> None:
        stage = self._stages.pop(name)
        assert stage.count is not None, "a stage finishes after its end"
        group.events.append(StageClosed(at=self._clock.now(), stage=name, offered=stage.count))
        self._transport.forget(stage.asked.request.call.number)
        group.ends.append(stage.asked.inbox)

    def _settle(self, settle: Settle, group: _Group) -> None:
        self._counts.succeeded += len(settle.tasks)
        self._deliver(record_success(settle, at=self._clock.now()), group)

    def _settle_failure(self, settle: SettleFailure, group: _Group) -> None:
        event = record_failure(settle, at=self._clock.now())
        if isinstance(event, TaskFailed | TaskLost):
            self._counts.failed += settle.verdict is Verdict.FAILED
            self._counts.lost += settle.verdict is Verdict.LOST
            self._deliver(event, group)
        else:
            self._counts.retried += 1
            group.events.append(event)

    def _deliver(self, event: FinalEvent, group: _Group) -> None:
        group.events.append(event)
        inbox = self._stages[event.stage].asked.inbox
        group.finals.append((inbox, event, self._places[event.slot]))

    # -- trouble

    def _refuse(self, slot: str, reason: str) -> None:
        refused = self._roster.refuse(slot, reason)
        if self._dispatch.slots == 0 and refused >= self._wanted_slots:
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
        waiting = [stage.asked.inbox for stage in self._stages.values()]
        waiting += self._group.ends  # their stages are over, but that is not recorded
        for inbox in waiting:
            inbox.end(error)
        self._notify()

    def _unforeseen(self, error: BaseException) -> None:
        """Break, rather than leave the driver waiting, on an error that nothing else handles."""
        self._break(FarmError(f"cannot go on: the dispatcher failed: {error!r}. Resume the run."))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
