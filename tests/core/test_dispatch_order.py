"""Order, costs, ranks, the end of the wall time, and duplicates of stragglers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.chunking import ALONE_S, TARGET_S
from hpcflow.core.dispatch import OVERDUE_S, STRAGGLES
from hpcflow.core.instruction import Instruction, Kill, Recall, Send
from hpcflow.core.stage import ORDER_TASKS
from hpcflow.core.stimulus import Offer, Tick
from hpcflow.core.task import Cause
from tests.core.bench import Bench, failure, finished, killed, returned, settled, tasks, verdicts

LONG_S = 2 * ALONE_S


def weighed(bench: Bench, weights: Mapping[str, float], *, what: str, stage: str = "s") -> None:
    offered = tasks(stage, weights)
    for task in offered:
        setattr(task, what, weights[task.key])
    bench.do(Offer(stage, offered))


def order(bench: Bench) -> list[str]:
    """Return the keys in the order in which slot a runs them, alone, from now on."""
    keys = []
    while bench.held["a"]:
        keys += bench.on("a")[0]
        bench.back("a", each_s=LONG_S)
    return keys


def test_tasks_with_more_priority_go_first() -> None:
    bench = Bench()
    bench.stage(ordered=True)
    weighed(bench, {"x": 0, "y": -1, "z": 5, "w": 5}, what="priority")
    bench.join("a")
    assert order(bench) == ["z", "w", "x", "y"]


def test_of_one_priority_the_longest_go_first_if_asked_for() -> None:
    bench = Bench()
    bench.stage(ordered=True, longest_first=True)
    weighed(bench, {"x": 1, "y": 3, "z": 2}, what="cost")
    bench.join("a")
    assert order(bench) == ["y", "z", "x"]


def test_a_task_that_comes_back_unstarted_keeps_its_turn() -> None:
    bench = Bench("a", "b")
    bench.stage(ordered=True)
    bench.offer("x", "y", "z", "w")
    first = bench.on("b")[0]
    bench.lose("b", on_request=True)
    assert order(bench)[1] == first[0]


def test_chunks_are_cut_by_cost() -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {"first": 10}, what="cost")
    bench.back("a", each_s=0.01)  # 1 ms for a cost of 1
    weighed(bench, {f"k{n}": 10 for n in range(40)} | {"huge": 1000}, what="cost")
    assert len(bench.on("a")[0]) == int(min(TARGET_S, 4 * 0.01) / 0.01)
    keys = []
    while bench.held["a"]:
        head = bench.held["a"][0]
        keys.append([task.key for task in head.tasks])
        bench.back("a", each_s=sum(task.cost for task in head.tasks) * 1e-3 / len(head.tasks))
    assert ["huge"] in keys


UNITS = pytest.mark.parametrize("unit", [1e-290, 1e-6, 1.0, 1e9, 1e290])
"""What a task costs may be counted in shares of the longest one, in bytes, or in anything else."""


@UNITS
def test_the_first_chunk_is_one_task_whatever_costs_are_counted_in(unit: float) -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {f"k{n}": unit for n in range(100)}, what="cost")
    assert bench.on("a") == [["k0"]]


@UNITS
def test_chunks_do_not_depend_on_what_costs_are_counted_in(unit: float) -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {f"k{n}": unit for n in range(2000)}, what="cost")
    sizes = []
    for _ in range(6):
        sizes.append(len(bench.held["a"][0].tasks))
        bench.back("a", each_s=0.001)
    assert sizes == pytest.approx([1, 4, 4, 16, 16, TARGET_S / 0.001], abs=1)


@UNITS
def test_demand_and_reading_ahead_do_not_depend_on_what_costs_are_counted_in(unit: float) -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {"first": unit}, what="cost")
    bench.back("a", each_s=LONG_S)
    assert bench.dispatch.wanted("s") == ORDER_TASKS
    weighed(bench, {f"k{n}": unit for n in range(10)}, what="cost")
    assert bench.dispatch.demand == 10


@UNITS
def test_what_fits_in_the_time_does_not_depend_on_what_costs_are_counted_in(unit: float) -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {"first": unit}, what="cost")
    bench.back("a", each_s=10.0)
    bench.do(Tick(0.0, 19.0))
    weighed(bench, {"x": 2 * unit}, what="cost")
    stuck = bench.dispatch.out_of_time
    assert stuck is not None
    assert stuck[0] == "s"
    assert stuck[1] == pytest.approx(20.0)
    bench.do(Tick(0.0, 21.0))
    assert bench.on("a") == [["x"]]


def test_tasks_that_are_said_to_cost_nothing_go_one_by_one() -> None:
    bench = Bench("a", "b")
    bench.stage(ordered=True)
    weighed(bench, {f"k{n}": 0.0 for n in range(10)}, what="cost")
    bench.back("a", each_s=60.0)
    assert (bench.on("a"), bench.on("b")) == ([["k2"]], [["k1"]])


def test_nothing_is_parked_behind_a_task_that_its_cost_says_is_long() -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {"first": 10}, what="cost")
    bench.back("a", each_s=0.01)
    weighed(bench, {"long": ALONE_S * 1000, "short": 1, "other": 1}, what="cost")
    assert bench.on("a") == [["long"]]


def test_ordered_tasks_are_read_far_ahead() -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    bench.stage("given")
    assert bench.dispatch.wanted("s") == ORDER_TASKS
    assert bench.dispatch.wanted("given") == 2


def test_large_inputs_are_not_read_far_ahead() -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    bench.offer(*(f"k{n}" for n in range(66)), payload=b"\0" * (1 << 20))
    assert bench.dispatch.wanted("s") == 0


def test_a_stage_of_higher_rank_is_fed_first() -> None:
    bench = Bench("a")
    bench.stage("relax")
    bench.stage("score", rank=1)
    bench.offer("r0", "r1", "r2", stage="relax")
    bench.offer("s0", stage="score")
    bench.offer("s1", stage="score")
    assert order(bench) == ["r0", "s0", "s1", "r1", "r2"]


# -- the end of the wall time


def test_a_task_that_would_not_end_in_time_is_not_sent() -> None:
    bench = Bench("a")
    bench.stage()
    bench.do(Tick(0.0, 100.0))
    bench.offer("x", "y", "z")
    bench.back("a", each_s=30.0)
    bench.do(Tick(70.0, 31.0))
    assert bench.dispatch.out_of_time is None
    bench.do(Tick(72.0, 29.0))
    bench.back("a", each_s=30.0)
    assert bench.on("a") == []
    assert bench.dispatch.out_of_time == ("s", 30.0)
    bench.do(Tick(73.0, 31.0))
    assert bench.on("a") == [["z"]]


def test_a_stage_whose_tasks_fit_goes_on_without_the_others() -> None:
    bench = Bench("a")
    bench.stage(ordered=True)
    weighed(bench, {"first": 10}, what="cost")
    bench.back("a", each_s=10.0)
    bench.do(Tick(0.0, 5.0))
    weighed(bench, {"long": 10}, what="cost")
    assert bench.dispatch.out_of_time == ("s", 10.0)
    bench.stage("other")
    bench.offer("x", stage="other")
    assert bench.on("a") == [["x"]]
    assert bench.dispatch.out_of_time is None


def test_once_the_time_is_over_nothing_starts() -> None:
    bench = Bench("a")
    bench.stage()
    bench.do(Tick(0.0, 0.0))
    bench.offer("x")
    assert bench.on("a") == []
    assert bench.dispatch.out_of_time == ("s", 0.0)


# -- duplicates


def straggling() -> tuple[Bench, list[Instruction]]:
    """Return a bench where task x on slot a takes long and slot b has nothing else to do."""
    bench = Bench("a", "b")
    bench.stage(speculate=True)
    bench.do(Tick(0.0))
    bench.offer("x", "y")
    bench.exhaust()
    bench.back("b", each_s=1.0)
    assert bench.do(Tick(STRAGGLES * 1.0)) == []
    return bench, bench.do(Tick(STRAGGLES * 1.0 + 0.1))


def test_an_idle_slot_gets_a_duplicate_of_a_straggler_and_no_second_one() -> None:
    bench, sent = straggling()
    assert [(one.slot, one.chunk.keys) for one in sent if isinstance(one, Send)] == [("b", ["x"])]
    assert bench.do(Tick(100.0)) == []
    assert bench.join("c") == []
    assert bench.dispatch.in_flight("s") == 1


@pytest.mark.parametrize(("winner", "loser"), [("a", "b"), ("b", "a")])
def test_the_first_answer_counts_and_the_other_attempt_is_killed(winner: str, loser: str) -> None:
    bench, _ = straggling()
    number = bench.held[loser][0].number
    done = bench.back(winner)
    assert settled(done) == ["x"]
    assert killed(done) == [(loser, number)]
    assert finished(done) == ["s"]
    assert settled(bench.back(loser)) == []


def test_a_failure_counts_as_the_first_answer() -> None:
    bench, _ = straggling()
    done = bench.back("b", failed={0: failure(Cause.EXCEPTION)})
    assert [key for key, *_ in verdicts(done)] == ["x"]
    assert [slot for slot, _ in killed(done)] == ["a"]
    assert finished(done) == ["s"]


@pytest.mark.parametrize("lost", ["a", "b"])
def test_a_slot_that_vanishes_leaves_the_task_to_the_other(lost: str) -> None:
    bench, _ = straggling()
    other = "b" if lost == "a" else "a"
    assert verdicts(bench.lose(lost)) == []
    assert bench.dispatch.in_flight("s") == 1
    assert settled(bench.back(other)) == ["x"]


def test_where_tasks_may_follow_a_straggler_runs_twice_on_what_idles_at_a_tick() -> None:
    bench = Bench("a", "b")
    bench.stage(speculate=True)
    bench.do(Tick(0.0))
    bench.offer("x", "y")
    bench.back("b", each_s=1.0)
    bench.offer("z")
    bench.do(Tick(STRAGGLES * 1.0 + 0.1))
    assert [one for one in bench.back("b", each_s=1.0) if isinstance(one, Send)] == []
    bench.do(Tick(STRAGGLES * 1.0 + 0.2))
    assert bench.on("b") == [["x"]]


def test_a_stage_that_does_not_ask_for_it_gets_no_duplicates() -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.offer("x", "y")
    bench.exhaust()
    bench.back("b", each_s=1.0)
    assert bench.do(Tick(1000.0)) == []


@settings(deadline=None)
@given(data=st.data(), count=st.integers(2, 12))
def test_whatever_happens_to_duplicates_a_task_ends_once(data: st.DataObject, count: int) -> None:
    bench, ends, now = Bench("a", "b", "c"), Counter[str](), 0.0
    over: list[str] = []

    def take(done: list[Instruction]) -> None:
        ends.update(settled(done))
        ends.update(key for key, _, verdict in verdicts(done) if verdict.name in ("FAILED", "LOST"))
        over.extend(finished(done))
        for one in done:
            if isinstance(one, Kill) and data.draw(st.booleans()):
                take(bench.lose(one.slot, on_request=True))
                take(bench.join(one.slot))

    bench.stage(speculate=True, retries=1)
    bench.offer_many(count)
    take(bench.exhaust())
    while not over:
        now += 5.0
        take(bench.do(Tick(now)))
        busy = [slot for slot, held in bench.held.items() if held]
        if not busy:
            continue
        action = data.draw(st.sampled_from(["back", "back", "tick", "fail", "lose"]))
        slot = data.draw(st.sampled_from(busy))
        if action == "lose":
            take(bench.lose(slot))
            take(bench.join(slot))
        elif action != "tick":
            chunk = bench.held[slot].pop(0)
            failed = {0: failure()} if action == "fail" else None
            answer = returned(slot, chunk.number, len(chunk.tasks), each_s=1.0, failures=failed)
            take(bench.do(answer))
    assert over == ["s"]
    assert ends == Counter({f"s{n}": 1 for n in range(count)})


# -- what waits behind an overdue task


def overdue() -> tuple[Bench, list[Instruction]]:
    """Return a bench where the second of the tasks of slot a takes long, and b has none."""
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer_many(8)
    first, second = bench.held["a"]
    assert (len(first.tasks), len(second.tasks)) == (4, 4)
    bench.do(returned("a", first.number, 1))
    bench.do(Tick(1.0))
    bench.join("b")
    return bench, bench.do(Tick(1.0 + OVERDUE_S + 0.1))


def test_what_waits_behind_an_overdue_task_goes_to_idle_slots() -> None:
    bench, done = overdue()
    recalled = [one for one in done if isinstance(one, Recall)]
    assert [(one.slot, one.chunk) for one in recalled] == [("a", bench.held["a"][1].number)]
    sent = [key for one in done if isinstance(one, Send) for key in one.chunk.keys]
    assert {one.slot for one in done if isinstance(one, Send)} == {"b"}
    assert sent
    assert set(sent) <= {f"s{n}" for n in range(2, 8)}
    assert bench.dispatch.in_flight("s") == 7


def test_what_a_slot_ran_before_it_heard_of_a_recall_does_not_count() -> None:
    bench, _ = overdue()
    head = bench.held["a"][0]
    assert settled(bench.do(returned("a", head.number, 3))) == ["s1"]
    assert settled(bench.do(returned("a", head.number, 1))) == []
    bench.held["a"] = [chunk for chunk in bench.held["a"] if chunk.number > head.number + 1]
    bench.exhaust()
    ends = []
    while busy := [slot for slot, held in bench.held.items() if held]:
        ends += settled(bench.back(busy[0]))
    assert sorted(ends) == [f"s{n}" for n in range(2, 8)]


def test_what_was_recalled_before_it_began_runs_after_all() -> None:
    bench, _ = overdue()
    head = bench.held["a"][0]
    bench.held["a"] = [chunk for chunk in bench.held["a"] if chunk.number > head.number + 1]
    assert settled(bench.do(returned("a", head.number, 0))) == []
    bench.exhaust()
    ends = []
    while busy := [slot for slot, held in bench.held.items() if held]:
        ends += settled(bench.back(busy[0]))
    assert sorted(ends) == [f"s{n}" for n in range(1, 8)]
    assert bench.dispatch.in_flight("s") == 0


def test_a_straggler_that_never_began_is_left_to_its_duplicate() -> None:
    bench, _ = straggling()
    chunk = bench.held["a"].pop()
    assert bench.do(returned("a", chunk.number, 0)) == []
    assert (bench.on("a"), bench.on("b")) == ([], [["x"]])
    done = bench.back("b")
    assert (settled(done), killed(done), finished(done)) == (["x"], [], ["s"])


def test_nothing_is_recalled_while_no_slot_is_idle() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer_many(9)
    bench.do(Tick(0.0))
    assert bench.do(Tick(100.0)) == []


def test_a_crash_in_what_was_recalled_blames_nobody() -> None:
    bench, _ = overdue()
    head = bench.held["a"][0].number
    done = bench.lose("a", chunk=head, index=3, blame=failure(Cause.SIGNAL))
    assert verdicts(done) == []
    assert bench.dispatch.in_flight("s") == 7
