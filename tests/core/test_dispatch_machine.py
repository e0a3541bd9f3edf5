"""Any order of events: no task is lost, doubled or forgotten, and no slot is misused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hpcflow.core.backlog import MOST_BYTES
from hpcflow.core.chunking import Chunker
from hpcflow.core.dispatch import Dispatch
from hpcflow.core.instruction import Chunk, Recall, Send, Verdict
from hpcflow.core.numbered import Numbered
from hpcflow.core.resources import CPU, GPU
from hpcflow.core.stage import LOOKAHEAD, ORDER_TASKS
from hpcflow.core.stimulus import (
    Cancel,
    Exhaust,
    Join,
    Leave,
    Offer,
    Open,
    Policy,
    Return,
    Stimulus,
    Task,
    Tick,
)
from hpcflow.core.task import Cause
from tests.core.bench import failure, finished, killed, returned, settled, tasks, verdicts

SLOTS = {"a": CPU, "b": CPU, "c": GPU, "d": GPU}
"""The pool of each slot."""
MOST_STAGES = 3
LARGE = b"\0" * (MOST_BYTES // 2 + 1)
CAUSES = [cause for cause in Cause if cause is not Cause.SLOT_LOST]

seconds = st.sampled_from([1e-6, 1e-3, 0.03, 0.09, 0.2, 5.0])

costs = st.sampled_from([0.0, 0.5, 1.0, 7.0, 1e4])

Verdicts = Sequence[tuple[str, int, Verdict]]


@dataclass
class Flight:
    """A chunk on a slot."""

    chunk: Chunk
    tasks: list[Task]
    done: int = 0
    work_s: float = 0.0
    recalled: bool = False

    @property
    def left(self) -> list[Task]:
        return self.tasks[self.done :]


@dataclass
class Stage:
    """What should be true of an open stage."""

    policy: Policy
    chunker: Chunker = field(default_factory=Chunker)
    offered: int = 0
    waiting: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    final: set[str] = field(default_factory=set)
    exhausted: bool = False

    def takes(self, slot: str) -> bool:
        return self.policy.pool in (None, SLOTS[slot])

    def attempt(self, key: str) -> int:
        return 1 + self.failures[key] + self.losses[key]

    def blame(self, key: str, cause: Cause) -> tuple[str, int, Verdict]:
        attempt = self.attempt(key)
        if cause is Cause.SLOT_LOST:
            self.losses[key] += 1
            final = self.losses[key] > self.policy.losses
            verdict = Verdict.LOST if final else Verdict.RELOCATE
        else:
            self.failures[key] += 1
            final = self.failures[key] > self.policy.retries
            verdict = Verdict.FAILED if final else Verdict.RETRY
        (self.final if final else self.waiting).add(key)
        return key, attempt, verdict


class Dispatching(RuleBasedStateMachine):
    """Drives the dispatcher, and works out on its own what should come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatch = Dispatch()
        self.stages: dict[str, Stage] = {}
        self.slots: dict[str, list[Flight]] = {}
        self.past: list[Return] = []
        """Last answers of chunks that no slot holds any more."""
        self.opened = 0
        self.now = 0.0
        self.chunks = 0

    # -- what happens

    @initialize(count=st.integers(1, len(SLOTS)))
    def slots_join(self, count: int) -> None:
        for slot in list(SLOTS)[:count]:
            self._join(slot)

    @precondition(lambda self: len(self.stages) < MOST_STAGES)
    @rule(
        policy=st.builds(
            Policy,
            retries=st.integers(0, 2),
            losses=st.integers(0, 2),
            pool=st.sampled_from([None, None, CPU, GPU]),
            ordered=st.booleans(),
            longest_first=st.booleans(),
            rank=st.integers(0, 1),
        ),
        count=st.integers(0, 60),
    )
    def stage_opens(self, policy: Policy, count: int) -> None:
        self.opened += 1
        name = f"s{self.opened}"
        self.stages[name] = Stage(policy)
        self._do(Open(name, policy))
        self._offer(name, count)

    @precondition(lambda self: self._offering())
    @rule(data=st.data(), count=st.integers(1, 60))
    def tasks_are_offered(self, data: st.DataObject, count: int) -> None:
        self._offer(data.draw(st.sampled_from(self._offering())), count)

    @precondition(lambda self: self._unordered())
    @rule(data=st.data(), count=st.integers(1, 60), known=st.booleans())
    def numbers_are_offered(self, data: st.DataObject, count: int, known: bool) -> None:
        name = data.draw(st.sampled_from(self._unordered()))
        stage = self.stages[name]
        values: list[float | None] = [0.5 * n for n in range(count)]
        offered = Numbered(name, stage.offered, values=values, created=[0.0] * count)
        stage.offered += count
        stage.waiting.update([f"{task.position}-{task.number}" for task in offered])
        if known:
            assert len(offered.keys) == count
        self._do(Offer(name, offered))

    @precondition(lambda self: self._offering())
    @rule(data=st.data(), count=st.integers(1, 4))
    def large_tasks_are_offered(self, data: st.DataObject, count: int) -> None:
        self._offer(data.draw(st.sampled_from(self._offering())), count, payload=LARGE)

    @precondition(lambda self: self._offering())
    @rule(data=st.data(), weights=st.lists(st.tuples(costs, costs), min_size=1, max_size=20))
    def weighed_tasks_are_offered(
        self, data: st.DataObject, weights: list[tuple[float, float]]
    ) -> None:
        name = data.draw(st.sampled_from(self._offering()))
        if self.stages[name].policy.ordered:
            self._offer(name, len(weights), weights=weights)

    @rule(passed_s=st.floats(0, 10))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s
        self._do(Tick(self.now))

    @precondition(lambda self: len(self._offering()) > 1)
    @rule(data=st.data())
    def stage_is_exhausted(self, data: st.DataObject) -> None:
        self._exhaust(data.draw(st.sampled_from(self._offering())))

    @precondition(lambda self: len(self.stages) == MOST_STAGES)
    @rule(data=st.data())
    def stage_is_cancelled(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.stages)))
        del self.stages[name]
        kills = [
            (slot, flight.chunk.number)
            for slot, flights in self.slots.items()
            for flight in flights
            if flight.chunk.stage == name
        ]
        self._do(Cancel(name), kills=kills)

    @precondition(lambda self: len(self.slots) < len(SLOTS))
    @rule(data=st.data())
    def slot_joins(self, data: st.DataObject) -> None:
        self._join(data.draw(st.sampled_from([slot for slot in SLOTS if slot not in self.slots])))

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), each_s=seconds, rounds=st.integers(1, 4))
    def chunks_succeed(self, data: st.DataObject, each_s: float, rounds: int) -> None:
        for _ in range(rounds):
            slot = data.draw(st.sampled_from(self._busy()))
            flight = self.slots[slot][0]
            self._answer(
                returned(slot, flight.chunk.number, len(flight.left), each_s=each_s),
            )
            if not self._busy():
                break

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), each_s=seconds, failing=st.booleans())
    def part_of_a_chunk_is_back(self, data: st.DataObject, each_s: float, failing: bool) -> None:
        slot = data.draw(st.sampled_from(self._busy()))
        flight = self.slots[slot][0]
        count = data.draw(st.integers(1, len(flight.left)))
        failed = data.draw(st.sets(st.integers(0, count - 1), min_size=1)) if failing else set()
        failures = {n: failure(data.draw(st.sampled_from(CAUSES))) for n in failed}
        self._answer(returned(slot, flight.chunk.number, count, each_s=each_s, failures=failures))

    @precondition(lambda self: self._recalled_slots())
    @rule(data=st.data())
    def runner_hears_of_a_recall_before_it_begins(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self._recalled_slots()))
        head = self.slots[slot].pop(0)
        stage = self.stages.get(head.chunk.stage)
        if stage is not None:
            stage.waiting.update(task.key for task in head.left)
        self._do(returned(slot, head.chunk.number, 0))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def stale_answer_arrives(self, data: st.DataObject) -> None:
        answer = data.draw(st.sampled_from(self.past[-20:]))
        assert self.dispatch.handle(answer) == []

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), on_request=st.booleans())
    def slot_vanishes(self, data: st.DataObject, on_request: bool) -> None:
        slot = data.draw(st.sampled_from(self._busy() or list(self.slots)))
        flights = self.slots.pop(slot)
        suspect = flights[0].left[0] if flights and not on_request else None
        bad = [] if suspect is None else self._blame(suspect, Cause.SLOT_LOST)
        self._give_back(slot, flights, spared=suspect)
        self._do(Leave(slot=slot, reason="gone", at=0.0, on_request=on_request), bad=bad)

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), cause=st.sampled_from(CAUSES), on_request=st.booleans())
    def runner_crashes(self, data: st.DataObject, cause: Cause, on_request: bool) -> None:
        slot = data.draw(st.sampled_from(self._busy()))
        flight = data.draw(st.sampled_from(self.slots[slot]))
        index = data.draw(st.integers(0, len(flight.tasks) - 1))
        blamed = index >= flight.done and not on_request
        culprit = flight.tasks[index] if blamed else None
        bad = [] if culprit is None else self._blame(culprit, cause)
        self._give_back(slot, self.slots.pop(slot), spared=culprit)
        leave = Leave(
            slot=slot,
            reason="signal 11",
            at=0.0,
            chunk=flight.chunk.number,
            index=index,
            failure=failure(cause),
            on_request=on_request,
        )
        self._do(leave, bad=bad)

    # -- what should come of it

    def _busy(self) -> list[str]:
        return [slot for slot, held in self.slots.items() if held]

    def _recalled_slots(self) -> list[str]:
        return [slot for slot in self._busy() if self.slots[slot][0].recalled]

    def _offering(self) -> list[str]:
        return [name for name, stage in self.stages.items() if not stage.exhausted]

    def _unordered(self) -> list[str]:
        return [name for name in self._offering() if not self.stages[name].policy.ordered]

    def _offer(
        self,
        name: str,
        count: int,
        *,
        payload: bytes = b"",
        weights: Sequence[tuple[float, float]] = (),
    ) -> None:
        stage = self.stages[name]
        keys = [f"k{stage.offered + n}" for n in range(count)]
        stage.offered += count
        stage.waiting.update(keys)
        offered = tasks(name, keys, payload)
        for task, (cost, priority) in zip(offered, weights, strict=False):
            task.cost, task.priority = cost, priority
        self._do(Offer(name, offered))

    def _exhaust(self, name: str) -> None:
        self.stages[name].exhausted = True
        self._do(Exhaust(name))

    def _join(self, slot: str) -> None:
        self.slots[slot] = []
        self._do(Join(slot, SLOTS[slot]))

    def _answer(self, answer: Return) -> None:
        flight = self.slots[answer.slot][0]
        answered = flight.left[: len(answer.values)]
        flight.done += len(answered)
        flight.work_s += answer.finished[-1] - answer.started[0]
        stage = self.stages.get(flight.chunk.stage)
        if not flight.left:
            self.slots[answer.slot].pop(0)
            self.past.append(answer)
            if stage is not None:
                stage.chunker.learn(flight.work_s, sum(task.cost for task in flight.tasks))
        good: list[str] = []
        bad: list[tuple[str, int, Verdict]] = []
        if stage is not None:
            good = [task.key for n, task in enumerate(answered) if n not in answer.failures]
            assert stage.final.isdisjoint(good)
            stage.final.update(good)
            for index in sorted(answer.failures):
                bad += self._blame(answered[index], answer.failures[index].cause)
        self._do(answer, good=good, bad=bad)

    def _blame(self, task: Task, cause: Cause) -> list[tuple[str, int, Verdict]]:
        stage = self.stages.get(task.stage)
        return [] if stage is None else [stage.blame(task.key, cause)]

    def _give_back(self, slot: str, flights: list[Flight], *, spared: Task | None) -> None:
        for flight in flights:
            self.past.append(returned(slot, flight.chunk.number, len(flight.tasks)))
            stage = self.stages.get(flight.chunk.stage)
            if stage is not None:
                stage.waiting.update(task.key for task in flight.left if task is not spared)

    def _do(
        self,
        stimulus: Stimulus,
        *,
        good: Sequence[str] = (),
        bad: Verdicts = (),
        kills: Sequence[tuple[str, int]] = (),
    ) -> None:
        instructions = self.dispatch.handle(stimulus)
        assert settled(instructions) == list(good)
        assert verdicts(instructions) == list(bad)
        assert killed(instructions) == list(kills)
        for instruction in instructions:
            if isinstance(instruction, Send):
                self._sent(instruction.slot, instruction.chunk)
            elif isinstance(instruction, Recall):
                self._recalled(instruction.slot, instruction.chunk)
        ended = [name for name, stage in self.stages.items() if self._is_done(name, stage)]
        assert finished(instructions) == ended
        for name in ended:
            stage = self.stages.pop(name)
            assert len(stage.final) == stage.offered

    def _sent(self, slot: str, chunk: Chunk) -> None:
        assert chunk.number > self.chunks
        self.chunks = chunk.number
        held, stage = self.slots[slot], self.stages[chunk.stage]
        assert stage.takes(slot)
        first = chunk.tasks[0]
        if held:
            assert len(held) == 1
            assert self._may_park_behind(held[0])
            assert stage.chunker.depth(first.cost) == 2
            assert first.losses == 0
        if len(chunk.tasks) > 1:
            assert chunk.attempt == 1
            assert sum(task.cost for task in chunk.tasks) <= stage.chunker.size
            assert sum(len(task.payload) for task in chunk.tasks[:-1]) < MOST_BYTES
        for task in chunk.tasks:
            stage.waiting.remove(task.key)
            assert chunk.attempt == task.attempt == stage.attempt(task.key)
        held.append(Flight(chunk, list(chunk.tasks)))

    def _recalled(self, slot: str, last: int) -> None:
        """Take in that nothing but the task that runs stays on a slot."""
        head, *parked = self.slots[slot]
        assert (parked or [head])[-1].chunk.number == last
        back = [task for flight in parked for task in flight.left] + head.left[1:]
        assert back
        head.tasks = head.tasks[: head.done + 1]
        self.slots[slot] = [head]
        head.recalled = True
        for task in back:
            if task.stage in self.stages:
                self.stages[task.stage].waiting.add(task.key)

    def _may_park_behind(self, flight: Flight) -> bool:
        stage = self.stages.get(flight.chunk.stage)
        tasks = flight.tasks
        cost = sum(task.cost for task in tasks) / len(tasks)
        return stage is not None and stage.chunker.depth(cost) == 2 and tasks[0].losses == 0

    def _out(self, name: str) -> list[str]:
        return [
            task.key
            for flights in self.slots.values()
            for flight in flights
            if flight.chunk.stage == name
            for task in flight.left
        ]

    def _is_done(self, name: str, stage: Stage) -> bool:
        return stage.exhausted and not stage.waiting and not self._out(name)

    # -- what is always true

    @invariant()
    def every_task_has_ended_or_waits_or_is_on_one_slot(self) -> None:
        for name, stage in self.stages.items():
            where = [*stage.final, *stage.waiting, *self._out(name)]
            assert len(where) == len(set(where)) == stage.offered
            assert self.dispatch.in_flight(name) == stage.offered - len(stage.final)

    @invariant()
    def no_slot_is_empty_while_a_task_waits(self) -> None:
        for stage in self.stages.values():
            if stage.waiting:
                assert all(held for slot, held in self.slots.items() if stage.takes(slot))

    @invariant()
    def the_window_is_bounded(self) -> None:
        assert self.dispatch.slots == len(self.slots)
        for name, stage in self.stages.items():
            taking = sum(stage.takes(slot) for slot in self.slots)
            chunks = max(taking, 1) * (stage.chunker.depth() + LOOKAHEAD)
            window = chunks * max(1, int(stage.chunker.size))
            if stage.policy.ordered:
                window = max(window, ORDER_TASKS)
            assert 0 <= self.dispatch.wanted(name) <= window

    def teardown(self) -> None:
        """Whatever has happened, every stage can be brought to its end."""
        for name in list(self.stages):
            self._exhaust(name)
        for slot in ("a", "c"):
            if slot not in self.slots:
                self._join(slot)
        while busy := self._busy():
            flight = self.slots[busy[0]][0]
            self._answer(returned(busy[0], flight.chunk.number, len(flight.left)))
        assert self.stages == {}


Dispatching.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # it takes minutes
    report_multiple_bugs=False,
)
test_any_order_of_events = Dispatching.TestCase
