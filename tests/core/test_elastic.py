"""An elastic farm grows with what waits, shrinks when idle, and never storms the batch system."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hpcflow.core.elastic import Bounds, Elastic, Ended, GiveUp, Order, Retire, Start, Stays, Tick

IDLE_S, SETTLE_S, BUDGET, FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 60.0, 5, 2.0, 300.0


def bounds(*, minimum: int = 0, maximum: int = 20, slots: int = 2) -> Bounds:
    return Bounds(
        minimum=minimum,
        maximum=maximum,
        slots=slots,
        idle_s=IDLE_S,
        settle_s=SETTLE_S,
        budget=BUDGET,
        first_wait_s=FIRST_WAIT_S,
        longest_wait_s=LONGEST_WAIT_S,
    )


@dataclass
class Bench:
    """An elastic farm under test, its clock, and the workers of which a slot takes tasks."""

    elastic: Elastic
    at: float = 1000.0
    up: dict[str, bool] = field(default_factory=dict)
    """Whether each is idle."""

    def tick(self, demand: int, *, after_s: float = 1.0) -> list[Order]:
        self.at += after_s
        return self.elastic.handle(Tick(self.at, demand, dict(self.up)))

    def join(self, *orders: Order, idle: bool = False) -> None:
        for order in orders:
            assert isinstance(order, Start)
            self.up[order.worker] = idle

    def end(self, worker: str, why: str = "it ended") -> list[Order]:
        self.up.pop(worker, None)
        return self.elastic.handle(Ended(worker, self.at, why))

    def rest(self, *workers: str) -> None:
        self.up.update(dict.fromkeys(workers, True))

    def at_work(self, count: int, *, demand: int) -> list[str]:
        """Let `count` workers join and settle."""
        while len(self.up) < count:
            self.join(*self.tick(demand, after_s=SETTLE_S))
        self.tick(demand, after_s=SETTLE_S)
        self.tick(demand, after_s=SETTLE_S)
        assert len(self.up) == count
        return list(self.up)


def starts(*names: str) -> list[Order]:
    return [Start(name) for name in names]


def test_there_are_as_many_workers_as_what_waits_can_use() -> None:
    bench = Bench(Elastic(bounds(slots=2)))
    assert bench.tick(0) == []
    assert bench.tick(5) == starts("w1", "w2", "w3")
    assert bench.tick(6) == []
    assert bench.tick(7) == starts("w4")


def test_there_are_never_fewer_than_the_minimum_nor_more_than_the_maximum() -> None:
    bench = Bench(Elastic(bounds(minimum=2, maximum=3)))
    assert bench.tick(0) == starts("w1", "w2")
    assert bench.tick(1000) == starts("w3")
    assert bench.tick(1000) == []


def test_a_first_volley_is_small_and_the_next_ones_grow() -> None:
    bench = Bench(Elastic(bounds(maximum=100)))
    begun = [len(bench.tick(1000))]
    for _ in range(3):
        assert bench.tick(1000, after_s=SETTLE_S / 2) == []
        begun.append(len(bench.tick(1000, after_s=SETTLE_S / 2)))
    assert begun == [BUDGET, 2 * BUDGET, 4 * BUDGET, 8 * BUDGET]


def test_idle_workers_are_retired_once_fewer_have_done_for_a_while() -> None:
    bench = Bench(Elastic(bounds(minimum=1)))
    workers = bench.at_work(4, demand=8)
    bench.rest(*workers)
    assert bench.tick(4) == []
    assert bench.tick(4, after_s=IDLE_S - 1) == []
    assert bench.tick(4, after_s=1) == [Retire("w4"), Retire("w3")]
    assert bench.tick(0, after_s=IDLE_S) == []
    assert bench.tick(0, after_s=IDLE_S) == [Retire("w2")]
    assert bench.tick(0, after_s=10 * IDLE_S) == []


def test_as_many_stay_as_were_wanted_at_any_time_of_the_wait() -> None:
    bench = Bench(Elastic(bounds()))
    bench.rest(*bench.at_work(4, demand=8))
    bench.tick(2)
    bench.tick(6, after_s=IDLE_S / 2)
    assert bench.tick(0, after_s=IDLE_S / 2) == [Retire("w4")]


def test_a_short_lull_retires_nobody() -> None:
    bench = Bench(Elastic(bounds()))
    bench.rest(*bench.at_work(2, demand=4))
    for _ in range(5):
        assert bench.tick(0, after_s=IDLE_S - 1) == []
        assert bench.tick(4) == []


def test_a_worker_with_a_task_is_not_retired() -> None:
    bench = Bench(Elastic(bounds()))
    first, second = bench.at_work(2, demand=4)
    bench.rest(first)
    bench.tick(1)
    assert bench.tick(1, after_s=IDLE_S) == [Retire(first)]
    assert bench.tick(0, after_s=IDLE_S) == []
    bench.rest(second)
    assert bench.tick(0, after_s=IDLE_S) == [Retire(second)]


def test_a_worker_that_waits_in_the_queue_goes_before_one_that_is_up() -> None:
    bench = Bench(Elastic(bounds()))
    first, second = bench.tick(4)
    bench.join(first, idle=True)
    bench.tick(1)
    assert isinstance(second, Start)
    assert bench.tick(1, after_s=IDLE_S) == [Retire(second.worker)]


def test_a_worker_that_has_got_a_task_stays() -> None:
    bench = Bench(Elastic(bounds()))
    (worker,) = bench.at_work(1, demand=2)
    bench.rest(worker)
    bench.tick(0)
    assert bench.tick(0, after_s=IDLE_S) == [Retire(worker)]
    bench.elastic.handle(Stays(worker))
    assert bench.tick(2) == []


def test_a_retired_worker_that_ends_is_no_failure() -> None:
    bench = Bench(Elastic(bounds()))
    (order,) = bench.tick(2)
    assert isinstance(order, Start)
    bench.tick(0)
    assert bench.tick(0, after_s=IDLE_S) == [Retire(order.worker)]
    assert bench.end(order.worker) == []
    assert bench.elastic.failures == 0
    assert bench.tick(2) == starts("w1")


def test_a_worker_that_ends_after_a_good_while_is_replaced_at_once() -> None:
    bench = Bench(Elastic(bounds()))
    workers = bench.at_work(3, demand=6)
    assert bench.end(workers[1]) == []
    assert bench.tick(6, after_s=0.1) == starts(workers[1])
    assert bench.elastic.failures == 0


def test_one_that_ends_early_is_replaced_after_a_wait() -> None:
    bench = Bench(Elastic(bounds()))
    bench.join(*bench.tick(8))
    bench.tick(8, after_s=5)
    bench.end("w2")
    assert bench.tick(8, after_s=FIRST_WAIT_S / 2) == []
    assert bench.tick(8, after_s=FIRST_WAIT_S / 2) == starts("w2")


def test_when_every_start_fails_the_waits_double_and_the_farm_gives_up() -> None:
    bench = Bench(Elastic(bounds()))
    begun: list[float] = []
    last: list[Order] = []
    while not last:
        for order in bench.tick(1000, after_s=0.5):
            assert isinstance(order, Start)
            begun.append(bench.at)
            last = bench.end(order.worker, f"refusal {len(begun)}")
        assert bench.at < 1000 + LONGEST_WAIT_S
    assert last == [GiveUp(BUDGET, f"refusal {len(begun)}")]
    volleys = sorted(set(begun))
    assert [b - a for a, b in itertools.pairwise(volleys)] == [2, 4, 8, 16]
    assert len(begun) == BUDGET + BUDGET - 1
    assert bench.tick(1000, after_s=3600) == []


def test_the_failure_of_one_volley_counts_once() -> None:
    bench = Bench(Elastic(bounds()))
    for order in bench.tick(1000):
        assert isinstance(order, Start)
        bench.end(order.worker)
    assert bench.elastic.failures == 1


def test_a_farm_with_workers_does_not_give_up_when_further_ones_fail() -> None:
    bench = Bench(Elastic(bounds(maximum=5)))
    kept = bench.at_work(2, demand=4)
    for _ in range(3 * BUDGET):
        for order in bench.tick(1000, after_s=LONGEST_WAIT_S):
            assert isinstance(order, Start)
            assert bench.end(order.worker) == []
    assert bench.tick(1000) == []
    assert sorted(bench.elastic.workers) == sorted(kept)


def test_a_worker_that_does_well_restores_the_budget() -> None:
    bench = Bench(Elastic(bounds()))
    for _ in range(BUDGET - 1):
        (order,) = bench.tick(2, after_s=LONGEST_WAIT_S)
        assert isinstance(order, Start)
        bench.end(order.worker)
    assert bench.elastic.failures == BUDGET - 1
    bench.join(*bench.tick(2, after_s=LONGEST_WAIT_S))
    bench.tick(2)
    bench.tick(2, after_s=SETTLE_S)
    assert bench.elastic.failures == 0
    assert len(bench.tick(1000)) > 1


def test_workers_of_old_say_nothing_of_new_ones() -> None:
    bench = Bench(Elastic(bounds(maximum=5)))
    bench.at_work(2, demand=4)
    (order, *_) = bench.tick(1000)
    assert isinstance(order, Start)
    bench.end(order.worker)
    bench.tick(1000, after_s=0.1)
    assert bench.elastic.failures == 1


@given(
    delays=st.lists(st.floats(0, SETTLE_S - 10), min_size=1, max_size=30),
    demands=st.lists(st.integers(0, 200), min_size=1, max_size=30),
    step_s=st.floats(0.1, 5),
    minimum=st.integers(0, 3),
)
@settings(deadline=None)
def test_while_all_starts_fail_there_are_few_and_ever_rarer(
    delays: list[float], demands: list[int], step_s: float, minimum: int
) -> None:
    bench = Bench(Elastic(bounds(minimum=minimum, maximum=50)))
    dooms: dict[str, float] = {}
    begun, over = 0, False
    for number in range(2000):
        for order in bench.tick(demands[number % len(demands)], after_s=step_s):
            if isinstance(order, Start):
                dooms[order.worker] = bench.at + delays[begun % len(delays)]
                begun += 1
        for worker in [name for name, doom in dooms.items() if doom <= bench.at]:
            del dooms[worker]
            orders = bench.end(worker)
            assert not over or orders == []
            over = over or any(isinstance(order, GiveUp) for order in orders)
        assert begun <= 2 * BUDGET - 1
    assert not over or not dooms


class Farm(RuleBasedStateMachine):
    """Anything may happen to workers; the orders must make sense all the same."""

    @initialize(minimum=st.integers(0, 3), more=st.integers(1, 5), slots=st.integers(1, 4))
    def begin(self, minimum: int, more: int, slots: int) -> None:
        self.bounds = bounds(minimum=minimum, maximum=minimum + more, slots=slots)
        self.bench = Bench(Elastic(self.bounds))
        self.waiting: set[str] = set()
        self.leaving: set[str] = set()
        self.last_failure: float | None = None
        self.given_up = False

    @rule(
        demand=st.integers(0, 40),
        after_s=st.sampled_from([0.0, 0.5, 2.0, 30.0, 60.0, 400.0]),
        idle=st.sets(st.integers(1, 8)),
    )
    def tick(self, demand: int, after_s: float, idle: set[int]) -> None:
        bench = self.bench
        for name in bench.up:
            bench.up[name] = int(name[1:]) in idle
        staying = (self.waiting | set(bench.up)) - self.leaving
        failing = bench.elastic.failures > 0
        for order in bench.tick(demand, after_s=after_s):
            assert not self.given_up
            match order:
                case Start(name):
                    assert name not in self.waiting | set(bench.up) | self.leaving
                    self.waiting.add(name)
                    assert len(staying) < max(
                        self.bounds.minimum, math.ceil(demand / self.bounds.slots)
                    )
                    staying.add(name)
                    if failing and bench.elastic.failures:
                        assert self.last_failure is not None
                        assert bench.at - self.last_failure >= FIRST_WAIT_S
                case Retire(name):
                    assert name in staying
                    assert bench.up.get(name, True), "it has a task"
                    staying.remove(name)
                    self.leaving.add(name)
                    needed = math.ceil(demand / self.bounds.slots)
                    assert len(staying) >= min(
                        max(needed, self.bounds.minimum), self.bounds.maximum
                    )
                case _:
                    raise AssertionError("it gives up only when a worker ends")

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(name)
        self.bench.up[name] = True

    @precondition(lambda self: self.waiting or self.bench.up or self.leaving)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        everybody = sorted(self.waiting | set(self.bench.up) | self.leaving)
        name = data.draw(st.sampled_from(everybody))
        failures = self.bench.elastic.failures
        orders = self.bench.end(name)
        self.waiting.discard(name)
        self.leaving.discard(name)
        if self.bench.elastic.failures > failures:
            self.last_failure = self.bench.at
        if orders:
            assert not self.given_up
            assert failures + 1 >= BUDGET
            assert self.bench.elastic.workers == []
            self.given_up = True

    @precondition(lambda self: self.leaving & set(self.bench.up))
    @rule(data=st.data())
    def stay(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.leaving & set(self.bench.up))))
        self.leaving.remove(name)
        self.bench.elastic.handle(Stays(name))

    @invariant()
    def it_knows_its_workers(self) -> None:
        everybody: Mapping[str, None] = dict.fromkeys(
            [*self.waiting, *self.bench.up, *self.leaving]
        )
        assert sorted(self.bench.elastic.workers) == sorted(everybody)
        assert len(everybody) <= self.bounds.maximum


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
