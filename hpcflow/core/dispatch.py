"""The dispatcher as a state machine: a stimulus in, instructions out.

It decides which tasks go to which slot and what becomes of each attempt. It has no I/O, no clock
and no threads, so the live farm, the simulation and the tests drive the same code.

Delivery: a task may run more than once; exactly one final instruction (`Settle`, or a
`SettleFailure` with a final verdict) comes out for it. Answers to a chunk that the slot no longer
holds are stale and ignored.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import assert_never

from hpcflow.core.chunking import Chunker
from hpcflow.core.instruction import (
    Chunk,
    Finish,
    Instruction,
    Kill,
    Send,
    Settle,
    SettleFailure,
    Verdict,
)
from hpcflow.core.load import Load
from hpcflow.core.stimulus import (
    Cancel,
    Exhaust,
    Failure,
    Join,
    Leave,
    Offer,
    Open,
    Policy,
    Return,
    Stimulus,
    Task,
)
from hpcflow.core.task import Cause, ErrorText

LOOKAHEAD = 1
"""Chunks kept ready in the client for each chunk that a slot may hold."""
MOST_BYTES = 8 << 20
"""A chunk takes no further task once its inputs reach this [bytes]."""


class _Stage:
    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.chunker = Chunker()
        self.waiting: deque[Task] = deque()
        self.again: deque[Task] = deque()
        """Tasks with a history: they travel alone, before the others."""
        self.out = 0
        """Tasks on slots."""
        self.exhausted = False

    @property
    def depth(self) -> int:
        """Chunks of the stage that a slot may hold now."""
        suspect = bool(self.again) and self.again[0].losses > 0
        return 1 if suspect else self.chunker.depth

    def vies(self, other: _Stage) -> bool:
        """Whether two stages may want the same slots."""
        return (
            None in (self.policy.pool, other.policy.pool) or self.policy.pool == other.policy.pool
        )

    @property
    def ready(self) -> int:
        return len(self.waiting) + len(self.again)

    @property
    def finished(self) -> bool:
        return self.exhausted and not self.ready and not self.out


class _Flight:
    """A chunk on a slot, and how far its answers have come."""

    __slots__ = ("chunk", "done", "work_s")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.done = 0
        self.work_s = 0.0

    @property
    def solo(self) -> bool:
        """Whether nothing may wait behind it: its task was on a slot that vanished.

        Whatever ran next could end the slot again before the answer of this one is out, and it
        would be blamed for that.
        """
        return self.chunk.tasks[0].losses > 0

    @property
    def left(self) -> list[Task]:
        return self.chunk.tasks[self.done :]


class Dispatch:
    """Tasks, slots, and who has what."""

    def __init__(self, *, expected: int = 1) -> None:
        """Begin without stages and slots.

        Parameters
        ----------
        expected
            Slots to read ahead for while fewer are up.
        """
        self._expected = expected
        self._stages: dict[str, _Stage] = {}
        self._flights: dict[str, deque[_Flight]] = {}
        """Chunks on each slot, in the order in which it runs them."""
        self._load = Load()
        """The slots that may have room; those that turn out closed are dropped late."""
        self._numbers = itertools.count(1)

    @property
    def slots(self) -> int:
        """Slots that take tasks."""
        return len(self._flights)

    def slots_for(self, stage: str) -> int:
        """Return how many slots take the tasks of `stage`."""
        state = self._stages.get(stage)
        return self.slots if state is None else self._load.count(state.policy.pool)

    @property
    def demand(self) -> int:
        """Slots that would have a chunk to run, as far ahead as tasks have been read."""
        return sum(-(-(s.ready + s.out) // s.chunker.size) for s in self._stages.values())

    def is_idle(self, slot: str) -> bool:
        """Return whether a slot that takes tasks has none."""
        return not self._flights[slot]

    def in_flight(self, stage: str) -> int:
        """Return the tasks of `stage` that are offered and not settled."""
        state = self._stages.get(stage)
        return 0 if state is None else state.ready + state.out

    def wanted(self, stage: str) -> int:
        """Return how many more tasks of `stage` would keep every slot fed.

        It is zero until a quarter of the window is free, so that the source is not woken for every
        outcome.
        """
        state = self._stages.get(stage)
        if state is None or state.exhausted:
            return 0
        window = (
            max(self._load.count(state.policy.pool), self._expected)
            * (state.chunker.depth + LOOKAHEAD)
            * state.chunker.size
        )
        room = window - state.ready - state.out
        return room if 4 * room >= window else 0

    def handle(self, stimulus: Stimulus) -> list[Instruction]:
        """Take in what happened and return what to do about it, in order."""
        match stimulus:
            case Return():
                done = self._return(stimulus)
            case Offer(name, tasks):
                self._stages[name].waiting.extend(tasks)
                done = []
            case Open(name, policy):
                self._stages[name] = _Stage(name, policy)
                done = []
            case Exhaust(name):
                self._stages[name].exhausted = True
                done = []
            case Cancel(name):
                done = self._cancel(name)
            case Join(slot, pool):
                self._flights[slot] = deque()
                self._load.join(slot, pool)
                done = []
            case Leave():
                done = self._leave(stimulus)
            case _:
                assert_never(stimulus)
        done.extend(self._fill())
        done.extend(self._finish())
        return done

    # -- answers

    def _return(self, answer: Return) -> list[Instruction]:
        flights = self._flights.get(answer.slot)
        if not flights or flights[0].chunk.number != answer.chunk:
            return []
        flight = flights[0]
        count = len(answer.values)
        tasks = flight.chunk.tasks[flight.done : flight.done + count]
        flight.done += count
        flight.work_s += answer.finished[-1] - answer.started[0]
        stage = self._stages.get(flight.chunk.stage)
        if flight.done == len(flight.chunk.tasks):
            flights.popleft()
            self._load.file(answer.slot, len(flights))
            if stage is not None:
                stage.chunker.learn(flight.work_s / flight.done, flight.done)
        if stage is None:
            return []
        stage.out -= count
        if not answer.failures:
            return [
                Settle(
                    slot=answer.slot,
                    chunk=flight.chunk,
                    tasks=tasks,
                    values=answer.values,
                    started=answer.started,
                    finished=answer.finished,
                    stored=answer.stored,
                )
            ]
        return self._settle_mixed(flight.chunk, tasks, answer)

    def _settle_mixed(self, chunk: Chunk, tasks: list[Task], answer: Return) -> list[Instruction]:
        done: list[Instruction] = []
        good = [i for i in range(len(tasks)) if i not in answer.failures]
        if good:
            done.append(
                Settle(
                    slot=answer.slot,
                    chunk=chunk,
                    tasks=[tasks[i] for i in good],
                    values=[answer.values[i] for i in good],
                    started=[answer.started[i] for i in good],
                    finished=[answer.finished[i] for i in good],
                    stored={n: answer.stored[i] for n, i in enumerate(good) if i in answer.stored},
                )
            )
        done.extend(
            self._blame(tasks[i], answer.failures[i], slot=answer.slot)
            for i in sorted(answer.failures)
        )
        return done

    def _blame(self, task: Task, failure: Failure, *, slot: str) -> SettleFailure:
        stage = self._stages[task.stage]
        attempt = task.attempt
        if failure.cause is Cause.SLOT_LOST:
            task.losses += 1
            final, verdict = task.losses > stage.policy.losses, Verdict.RELOCATE
        else:
            final = attempt - task.losses > stage.policy.retries
            verdict = Verdict.RETRY
        if final:
            verdict = Verdict.LOST if failure.cause is Cause.SLOT_LOST else Verdict.FAILED
        else:
            task.attempt += 1
            stage.again.append(task)
        return SettleFailure(slot, task, attempt, failure, verdict)

    # -- slots that vanish

    def _leave(self, leave: Leave) -> list[Instruction]:
        flights = self._flights.pop(leave.slot, None)
        if flights is None:
            return []
        self._load.leave(leave.slot)
        done: list[Instruction] = []
        for position, flight in reversed(list(enumerate(flights))):
            stage = self._stages.get(flight.chunk.stage)
            if stage is None:
                continue
            left = flight.left
            stage.out -= len(left)
            blameless = leave.on_request
            running = None if blameless else self._running(leave, flight, head=position == 0)
            if running is not None:
                done.append(self._blame(running, _failure(leave), slot=leave.slot))
            self._give_back(stage, [task for task in left if task is not running])
        return done

    def _running(self, leave: Leave, flight: _Flight, *, head: bool) -> Task | None:
        """Return the task that ran when the slot vanished: known, or else presumed."""
        if leave.chunk is None:
            return flight.left[0] if head else None
        if leave.chunk == flight.chunk.number and leave.index >= flight.done:
            return flight.chunk.tasks[leave.index]
        return None

    def _give_back(self, stage: _Stage, tasks: list[Task]) -> None:
        """Let tasks that never started wait again, ahead of the others."""
        stage.again.extendleft(task for task in reversed(tasks) if task.attempt > 1)
        stage.waiting.extendleft(task for task in reversed(tasks) if task.attempt == 1)

    # -- stages that end

    def _cancel(self, name: str) -> list[Instruction]:
        if self._stages.pop(name, None) is None:
            return []
        return [
            Kill(slot, flight.chunk.number)
            for slot, flights in self._flights.items()
            for flight in flights
            if flight.chunk.stage == name
        ]

    def _finish(self) -> Iterable[Instruction]:
        for name in [stage.name for stage in self._stages.values() if stage.finished]:
            del self._stages[name]
            yield Finish(name)

    # -- feeding

    def _fill(self) -> Iterable[Instruction]:
        """Feed the stages by turns, a chunk each, so that none starves another."""
        while True:
            for stage in self._stages.values():
                send = self._feed(stage) if stage.ready else None
                if send is not None:
                    break
            else:
                return
            self._stages[stage.name] = self._stages.pop(stage.name)
            yield send

    def _feed(self, stage: _Stage) -> Send | None:
        # a stage that needs idle slots gets them only if the others leave some idle
        depth = min(each.depth for each in self._stages.values() if each.ready and stage.vies(each))
        slot = self._least_loaded(stage.policy.pool, depth)
        if slot is None:
            return None
        flights = self._flights[slot]
        if flights and self._worth_waiting(stage):
            return None
        chunk = self._cut(stage)
        stage.out += len(chunk.tasks)
        flights.append(_Flight(chunk))
        self._load.file(slot, len(flights))
        return Send(slot, chunk)

    def _worth_waiting(self, stage: _Stage) -> bool:
        """Whether a slot that has work should wait for a fuller chunk behind it."""
        short = len(stage.waiting) < stage.chunker.size
        return short and stage.out > 0 and not stage.exhausted and not stage.again

    def _least_loaded(self, pool: str | None, depth: int) -> str | None:
        for slot in self._load.least(pool, below=depth):
            flights = self._flights[slot]
            if not flights or not self._closes(flights[-1]):
                return slot
            self._load.drop(slot)  # filed again once a chunk is back
        return None

    def _cut(self, stage: _Stage) -> Chunk:
        if stage.again:
            task = stage.again.popleft()
            return Chunk(next(self._numbers), stage.name, task.attempt, [task])
        slots = self._load.count(stage.policy.pool)
        count = stage.chunker.cut(len(stage.waiting), slots, exhausted=stage.exhausted)
        tasks: list[Task] = []
        size = 0
        while len(tasks) < count and size < MOST_BYTES:
            task = stage.waiting.popleft()
            size += len(task.payload)
            tasks.append(task)
        return Chunk(next(self._numbers), stage.name, 1, tasks)

    def _closes(self, flight: _Flight) -> bool:
        """Whether nothing may wait behind a chunk: a suspect, tasks that take long, or given up.

        Asked when a slot is about to be fed: how long tasks take is learnt while they are out.
        """
        stage = self._stages.get(flight.chunk.stage)
        return flight.solo or stage is None or stage.chunker.depth == 1


def _failure(leave: Leave) -> Failure:
    if leave.failure is not None:
        return leave.failure
    message = f"slot {leave.slot} vanished: {leave.reason}"
    text = ErrorText(type="SlotLost", message=message, traceback="")
    return Failure(cause=Cause.SLOT_LOST, error=text, started=leave.at, finished=leave.at)
