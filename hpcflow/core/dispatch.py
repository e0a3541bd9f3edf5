"""The dispatcher as a state machine: a stimulus in, instructions out.

It decides which tasks go to which slot and what becomes of each attempt. It has no I/O, no clock
and no threads, so the live farm, the simulation and the tests drive the same code.

Delivery: a task may run more than once; exactly one final instruction (`Settle`, or a
`SettleFailure` with a final verdict) comes out for it. Answers to a chunk that the slot no longer
holds are stale and ignored.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import assert_never

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
from hpcflow.core.load import Load
from hpcflow.core.stage import Flight, Stage
from hpcflow.core.stimulus import (
    Cancel,
    Exhaust,
    Failure,
    Join,
    Leave,
    Offer,
    Open,
    Return,
    Stimulus,
    Task,
    Tick,
)
from hpcflow.core.task import Cause, ErrorText

OVERDUE_S = 0.5
"""A chunk whose next answer takes this long, and longer than all of it should have, is overdue:
idle slots get what waits behind the task that runs [s]."""
STRAGGLES = 2.0
"""A task straggles once it has taken this many times what it was expected to."""


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
        self._stages: dict[str, Stage] = {}
        self._flights: dict[str, deque[Flight]] = {}
        """Chunks on each slot, in the order in which it runs them."""
        self._load = Load()
        """The slots that may have room; those that turn out closed are dropped late."""
        self._numbers = itertools.count(1)
        self._now = 0.0
        self._left_s = math.inf
        """Time until the wall time is over."""
        self._ranks = self._speculates = self._ends = False
        """Whether a stage has been of a higher rank; speculative; exhausted."""
        self.partial = True
        """Whether answers come before their chunk has ended: then it is known which task runs."""

    @property
    def slots(self) -> int:
        """Slots that take tasks."""
        return len(self._flights)

    def slots_for(self, stage: str) -> int:
        """Return how many slots take the tasks of `stage`."""
        state = self._stages.get(stage)
        return self.slots if state is None else self._slots_of(state)

    def _slots_of(self, stage: Stage) -> int:
        return self._load.count(stage.policy.pool)

    @property
    def demand(self) -> int:
        """Slots that would have a chunk to run, as far ahead as tasks have been read."""
        return sum(
            math.ceil((stage.ready + stage.out) / max(1.0, stage.chunk_tasks))
            for stage in self._stages.values()
        )

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
        window = state.window(max(self._slots_of(state), self._expected))
        room = window - state.ready - state.out
        return room if 4 * room >= window else 0

    @property
    def out_of_time(self) -> tuple[str, float] | None:
        """The stage that has come to a stop because none of its tasks fits in the time left.

        With it comes how long its next task may take [s]. While any task of any stage is out, or
        can be sent, there is none.
        """
        stages = self._stages.values()
        if any(stage.out or (stage.ready and self._fits(stage)) for stage in stages):
            return None
        return next(
            (
                (stage.name, stage.chunker.longest_s(stage.next_cost))
                for stage in stages
                if stage.ready and self._slots_of(stage)
            ),
            None,
        )

    def handle(self, stimulus: Stimulus) -> list[Instruction]:
        """Take in what happened and return what to do about it, in order."""
        done = self._take_in(stimulus)
        if isinstance(stimulus, Leave) and stimulus.more:
            return done
        while (send := self._feed_next()) is not None:
            done.append(send)
        if self._speculates:
            done.extend(self._duplicate(at_tick=isinstance(stimulus, Tick)))
        if self._ends:
            done.extend(self._finish())
        return done

    def _take_in(self, stimulus: Stimulus) -> list[Instruction]:
        done: list[Instruction] = []
        match stimulus:
            case Return():
                done = self._return(stimulus)
            case Offer(name, tasks):
                self._stages[name].waiting.extend(tasks)
            case Open(name, policy):
                self._stages[name] = Stage(name, policy)
                self._ranks |= policy.rank > 0
                self._speculates |= policy.speculate
            case Exhaust(name):
                self._stages[name].exhausted = self._ends = True
            case Cancel(name):
                done = self._cancel(name)
            case Join(slot, pool):
                self._flights[slot] = deque()
                self._load.join(slot, pool)
            case Leave():
                done = self._leave(stimulus)
            case Tick(now, left_s):
                self._now, self._left_s = now, left_s
                done = list(self._recall()) if self.partial else []
            case _:
                assert_never(stimulus)
        return done

    # -- answers

    def _return(self, answer: Return) -> list[Instruction]:
        flights = self._flights.get(answer.slot)
        if not flights or flights[0].chunk.number != answer.chunk:
            return []
        flight = flights[0]
        if not answer.values:
            self._take_back_unbegun(answer.slot, flight)
            return []
        chunk = flight.chunk
        if len(answer.values) > len(flight.left):  # it went on before it heard of a recall
            answer = answer.first(len(flight.left))
        count = len(answer.values)
        flight.since = self._now
        whole = count == len(chunk.tasks)
        tasks = chunk.tasks if whole else chunk.tasks[flight.done : flight.done + count]
        flight.done += count
        flight.work_s += answer.finished[-1] - answer.started[0]
        stage = self._stages.get(chunk.stage)
        if flight.done == len(chunk.tasks):
            flights.popleft()
            self._load.file(answer.slot, len(flights))
            if stage is not None:
                stage.chunker.learn(flight.work_s, flight.cost)
        if stage is None or flight.void:
            return []
        stage.out -= count
        done = self._win(flight)
        if answer.failures:
            return done + self._settle_mixed(chunk, tasks, answer)
        settle = Settle(
            slot=answer.slot,
            chunk=chunk,
            tasks=tasks,
            values=answer.values,
            started=answer.started,
            finished=answer.finished,
            stored=answer.stored,
        )
        return [*done, settle]

    def _take_back_unbegun(self, slot: str, flight: Flight) -> None:
        """Let tasks wait again whose runner had heard of a recall before it began the first."""
        self._flights[slot].popleft()
        self._load.file(slot, len(self._flights[slot]))
        if flight.twin is not None:  # which goes on alone
            flight.twin.twin = None
        elif not flight.void:
            self._take_back(flight.chunk.stage, flight.left)

    def _win(self, flight: Flight) -> list[Instruction]:
        """Let the first answer of a task that runs twice be the one that counts."""
        twin, flight.twin = flight.twin, None
        if twin is None:
            return []
        twin.twin, twin.void = None, True
        return [
            Kill(slot, twin.chunk.number)
            for slot, flights in self._flights.items()
            if twin in flights
        ]

    def _settle_mixed(
        self, chunk: Chunk, tasks: Sequence[Task], answer: Return
    ) -> list[Instruction]:
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
            self._blame(tasks[i], answer.failures[i], slot=answer.slot, chunk=chunk)
            for i in sorted(answer.failures)
        )
        return done

    def _blame(self, task: Task, failure: Failure, *, slot: str, chunk: Chunk) -> SettleFailure:
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
        return SettleFailure(slot, chunk, task, attempt, failure, verdict)

    # -- slots that vanish

    def _leave(self, leave: Leave) -> list[Instruction]:
        flights = self._flights.pop(leave.slot, None)
        if flights is None:
            return []
        self._load.leave(leave.slot)
        done: list[Instruction] = []
        for position, flight in reversed(list(enumerate(flights))):
            stage = self._stages.get(flight.chunk.stage)
            if stage is None or flight.void:
                continue
            if flight.twin is not None:  # which goes on alone
                flight.twin.twin = None
                continue
            stage.out -= len(flight.open)
            blameless = leave.on_request
            running = None if blameless else self._running(leave, flight, head=position == 0)
            if running is not None:
                task, failure = flight.chunk.tasks[running], _failure(leave)
                done.append(self._blame(task, failure, slot=leave.slot, chunk=flight.chunk))
            tasks = flight.chunk.tasks
            self._give_back(stage, [tasks[i] for i in flight.open if i != running])
        return done

    def _running(self, leave: Leave, flight: Flight, *, head: bool) -> int | None:
        """Return the index of the task that ran when the slot vanished: known, or else presumed."""
        if leave.chunk is None:
            return flight.done if head else None
        if leave.chunk == flight.chunk.number and leave.index in flight.open:
            return leave.index
        return None

    def _give_back(self, stage: Stage, tasks: Sequence[Task]) -> None:
        """Let tasks that never started wait again, ahead of the others."""
        stage.again.extendleft(task for task in reversed(tasks) if task.attempt > 1)
        stage.waiting.give_back([task for task in tasks if task.attempt == 1])

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

    def _feed_next(self) -> Send | None:
        """Feed the stages by turns, a chunk each, so that none starves another of its rank."""
        for stage in self._by_rank():
            send = self._feed(stage) if stage.ready else None
            if send is not None:
                self._stages[stage.name] = self._stages.pop(stage.name)
                return send
        return None

    def _by_rank(self) -> Iterable[Stage]:
        stages = self._stages.values()
        return sorted(stages, key=lambda stage: -stage.policy.rank) if self._ranks else stages

    def _feed(self, stage: Stage) -> Send | None:
        if not self._fits(stage):
            return None
        depth = stage.depth(self._slots_of(stage))
        for other in self._stages.values():
            # a stage that needs idle slots gets them only if the others leave some idle
            if other is not stage and other.ready and stage.vies(other):
                depth = min(depth, other.depth(self._slots_of(other)))
        slot = self._least_loaded(stage.policy.pool, depth)
        if slot is None:
            return None
        flights = self._flights[slot]
        if flights and self._worth_waiting(stage):
            return None
        chunk = self._cut(stage)
        stage.out += len(chunk.tasks)
        flights.append(Flight(chunk, since=self._now))
        self._load.file(slot, len(flights))
        return Send(slot, chunk)

    def _fits(self, stage: Stage) -> bool:
        """Whether the stage's next task ends before the wall time does, by what is known of it."""
        return self._left_s == math.inf or (
            stage.chunker.longest_s(stage.next_cost) < self._left_s and self._left_s > 0
        )

    def _worth_waiting(self, stage: Stage) -> bool:
        """Whether a slot that has work should wait for a fuller chunk behind it."""
        if stage.exhausted or stage.again or not stage.out:
            return False
        return stage.waiting.cost + stage.next_cost <= stage.chunker.size

    def _least_loaded(self, pool: str | None, depth: int) -> str | None:
        for slot in self._load.least(pool, below=depth):
            flights = self._flights[slot]
            if not flights or not self._closes(flights[-1]):
                return slot
            self._load.drop(slot)  # filed again once a chunk is back
        return None

    def _cut(self, stage: Stage) -> Chunk:
        if stage.again:
            tasks: Sequence[Task] = [stage.again.popleft()]
        else:
            waiting, slots = stage.waiting, self._slots_of(stage)
            share = stage.chunker.cut(waiting.cost, slots, exhausted=stage.exhausted)
            tasks = waiting.take(share if stage.chunker.learnt else 0.0)
        return self._chunk(stage, tasks)

    def _chunk(self, stage: Stage, tasks: Sequence[Task]) -> Chunk:
        return Chunk(next(self._numbers), stage.name, tasks[0].attempt, tasks)

    def _closes(self, flight: Flight) -> bool:
        """Whether nothing may wait behind a chunk: a suspect, tasks that take long, or given up.

        Asked when a slot is about to be fed: how long tasks take is learnt while they are out.
        """
        stage = self._stages.get(flight.chunk.stage)
        if flight.solo or stage is None:
            return True
        return stage.chunker.depth(flight.cost / len(flight.chunk.tasks)) == 1

    def _recall(self) -> Iterable[Instruction]:
        """Take what waits behind overdue tasks off their slots, if others have nothing to do."""
        for slot, flights in self._flights.items():
            if not flights or not self._is_overdue(flights[0]):
                continue
            head, *parked = flights
            stage = self._stages[head.chunk.stage]
            idle = next(self._load.least(stage.policy.pool, below=1), None)
            if idle is None or (len(head.left) == 1 and not parked):
                continue
            last = flights[-1].chunk.number
            for flight in reversed(parked):
                flights.pop()
                self._take_back(flight.chunk.stage, flight.left)
            self._take_back(stage.name, head.cut())
            self._load.file(slot, len(flights))
            yield Recall(slot, last)

    def _is_overdue(self, flight: Flight) -> bool:
        stage = self._stages.get(flight.chunk.stage)
        if stage is None or flight.void or not stage.chunker.learnt:
            return False
        return self._now - flight.since > max(OVERDUE_S, stage.chunker.expected_s(flight.cost))

    def _take_back(self, name: str, tasks: Sequence[Task]) -> None:
        stage = self._stages.get(name)
        if stage is not None:
            stage.out -= len(tasks)
            self._give_back(stage, tasks)

    # -- the tail

    def _duplicate(self, *, at_tick: bool) -> Iterable[Instruction]:
        """Let slots that would idle run the stragglers of a stage once more.

        While further tasks may come, only those do that idle at a tick: a slot that is free just
        now may be about to get what the driver makes of its last outcome.
        """
        for stage in self._stages.values():
            if not (stage.policy.speculate and (stage.exhausted or at_tick)) or stage.ready:
                continue
            for flight in self._stragglers(stage):
                slot = next(self._load.least(stage.policy.pool, below=1), None)
                if slot is None:
                    return
                twin = Flight(self._chunk(stage, flight.left), since=self._now)
                flight.twin, twin.twin = twin, flight
                self._flights[slot].append(twin)
                self._load.file(slot, 1)
                yield Send(slot, twin.chunk)

    def _stragglers(self, stage: Stage) -> list[Flight]:
        """Return the chunks of one task that have run longest, measured by what was expected."""
        found: list[tuple[float, Flight]] = []
        for flights in self._flights.values():
            flight = flights[0] if flights else None
            if flight is None or flight.chunk.stage != stage.name or len(flight.chunk.tasks) > 1:
                continue
            late = (self._now - flight.since) / max(stage.chunker.expected_s(flight.cost), 1e-7)
            if late > STRAGGLES and not flight.void and flight.twin is None and not flight.solo:
                found.append((late, flight))
        return [flight for _, flight in sorted(found, key=lambda each: -each[0])]


def _failure(leave: Leave) -> Failure:
    if leave.failure is not None:
        return leave.failure
    message = f"slot {leave.slot} vanished: {leave.reason}"
    text = ErrorText(type="SlotLost", message=message, traceback="")
    return Failure(cause=Cause.SLOT_LOST, error=text, started=leave.at, finished=leave.at)
