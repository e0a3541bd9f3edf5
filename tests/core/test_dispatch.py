from __future__ import annotations

import pytest

from hpcflow.core.backlog import MOST_BYTES
from hpcflow.core.chunking import ALONE_S
from hpcflow.core.dispatch import Dispatch
from hpcflow.core.instruction import Settle, SettleFailure, Verdict
from hpcflow.core.stage import LOOKAHEAD
from hpcflow.core.stimulus import Cancel, Exhaust, Join, Leave, Offer, Open, Policy
from hpcflow.core.task import Cause
from tests.core.bench import Bench, failure, finished, killed, returned, settled, tasks, verdicts

LONG_S = 2 * ALONE_S
SHORT_S = 0.03
"""Chunks of one task, and two of them on a slot."""


# -- feeding


def test_tasks_wait_until_a_slot_joins() -> None:
    bench = Bench()
    bench.stage()
    bench.offer("x", "y")
    assert bench.dispatch.in_flight("s") == 2
    bench.join("a")
    assert bench.on("a") == [["x"]]


def test_every_empty_slot_is_fed_before_any_gets_a_second_chunk() -> None:
    bench = Bench("a", "b", "c")
    bench.stage()
    bench.learn(SHORT_S)
    bench.offer_many(3)
    assert [len(bench.on(slot)) for slot in "abc"] == [1, 1, 1]
    bench.offer("late")
    assert sorted(len(bench.on(slot)) for slot in "abc") == [1, 1, 2]


def test_before_durations_are_known_a_slot_gets_one_task() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer_many(10)
    assert bench.on("a") == [["s0"]]


def test_short_tasks_wait_at_the_slot_so_that_it_never_idles() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(SHORT_S)
    bench.offer_many(10)
    assert bench.on("a") == [["s0"], ["s1"]]
    bench.back("a", each_s=SHORT_S)
    assert bench.on("a") == [["s1"], ["s2"]]


def test_nothing_is_parked_behind_long_tasks() -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.learn(LONG_S)
    bench.offer_many(5)
    assert [bench.on(slot) for slot in "ab"] == [[["s1"]], [["s0"]]]
    bench.back("b", each_s=LONG_S)
    assert [bench.on(slot) for slot in "ab"] == [[["s1"]], [["s2"]]]


def test_nothing_of_another_stage_is_parked_behind_tasks_that_turn_out_long() -> None:
    bench = Bench("a", "b")
    bench.stage("slow")
    bench.stage("quick")
    for stage in ("slow", "quick"):
        bench.learn(SHORT_S, stage=stage)
    bench.offer("v", "w", "x", "y", "z", stage="slow")
    before = bench.all_held()
    assert before == ["v", "w", "x", "y"]
    bench.back("a", each_s=10.0)  # so long that the harmonic mean learns it, too
    bench.back("a", each_s=10.0)
    bench.offer("p", "q", "r", stage="quick")
    assert bench.on("a") == [["z"]]


def test_a_stage_that_needs_empty_slots_is_not_starved_by_one_that_takes_any() -> None:
    bench = Bench("a")
    bench.stage("quick")
    bench.stage("slow")
    bench.learn(SHORT_S, stage="quick")
    bench.offer_many(9, stage="quick")
    bench.offer_many(9, stage="slow")
    order = []
    while bench.held["a"]:
        order.append(bench.held["a"][0].stage)
        bench.back("a", each_s=SHORT_S if order[-1] == "quick" else LONG_S)
    assert sorted(order) == ["quick"] * 9 + ["slow"] * 9
    assert order[2:14] == ["slow", "quick"] * 6


def test_stages_take_turns_chunk_by_chunk() -> None:
    bench = Bench(*"abcdef")
    for stage in "xyz":
        bench.stage(stage)
        bench.do(Offer(stage, []))
    for slot in "abcdef":
        bench.lose(slot)
    for stage in "xyz":
        bench.offer_many(5, stage=stage)
    bench.join(*"abcdef")
    assert sorted(bench.held[slot][0].stage for slot in "abcdef") == ["x", "x", "y", "y", "z", "z"]


def test_a_slot_with_work_waits_for_a_fuller_chunk() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer_many(4)
    bench.offer("late")
    assert bench.on("a") == [["s0", "s1", "s2", "s3"]]
    bench.exhaust()
    assert bench.on("a") == [["s0", "s1", "s2", "s3"], ["late"]]


def test_an_empty_slot_takes_what_there_is() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("only")
    assert bench.on("a") == [["only"]]


def test_chunks_grow_while_tasks_are_short() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer_many(5000)
    sizes = []
    for _ in range(6):
        sizes.append(len(bench.held["a"][0].tasks))
        bench.back("a", each_s=1e-4)
    assert sizes == [1, 4, 4, 16, 16, 64]


def test_chunks_shrink_at_the_end_so_that_slots_end_together() -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.offer_many(1000)
    for _ in range(12):
        for slot in "ab":
            bench.back(slot, each_s=0.001)
    bench.exhaust()
    sizes = []
    while bench.held["a"] or bench.held["b"]:
        for slot in "ab":
            if bench.held[slot]:
                sizes.append(len(bench.held[slot][0].tasks))
                bench.back(slot, each_s=0.001)
    assert max(sizes) == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-4:-1] == [4, 4, 4]  # the floor: sending costs more than it evens out


def test_inputs_of_a_chunk_stop_at_eight_mebibytes() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.0001)
    bench.offer("x", "y", "z", payload=b"\0" * (MOST_BYTES // 2))
    assert bench.on("a") == [["x", "y"]]
    bench.exhaust()
    assert bench.on("a") == [["x", "y"], ["z"]]


def test_a_task_larger_than_the_cap_travels_alone() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.0001)
    bench.offer("x", "y", payload=b"\0" * (MOST_BYTES + 1))
    assert bench.on("a") == [["x"]]


# -- answers


def test_columns_are_settled_as_they_came() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("x", "y", "z")
    chunk = bench.held["a"][0]
    answer = returned("a", chunk.number, 3, stored={1: b"pickle"})
    (settle, *_) = bench.do(answer)
    assert isinstance(settle, Settle)
    assert settle.values is answer.values
    assert (settle.slot, settle.chunk, settle.stored) == ("a", chunk, {1: b"pickle"})
    assert (settle.started, settle.finished) == (answer.started, answer.finished)


def test_a_chunk_may_come_back_in_parts() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("w", "x", "y", "z")
    number = bench.held["a"][0].number
    assert settled(bench.do(returned("a", number, 1))) == ["w"]
    assert settled(bench.do(returned("a", number, 2))) == ["x", "y"]
    assert bench.dispatch.in_flight("s") == 1
    assert settled(bench.do(returned("a", number, 1))) == ["z"]
    assert bench.dispatch.in_flight("s") == 0


def test_failures_are_told_apart_from_the_successes_around_them() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("w", "x", "y", "z")
    number = bench.held["a"][0].number
    done = bench.do(
        returned("a", number, 4, failures={1: failure(), 3: failure()}, stored={0: b"w", 2: b"y"})
    )
    settle = done[0]
    assert isinstance(settle, Settle)
    assert [task.key for task in settle.tasks] == ["w", "y"]
    assert (settle.values, settle.stored) == ([0, 2], {0: b"w", 1: b"y"})
    assert settle.started == pytest.approx([0.0, 0.002])
    assert settle.finished == pytest.approx([0.001, 0.003])
    assert verdicts(done) == [("x", 1, Verdict.FAILED), ("z", 1, Verdict.FAILED)]


def test_a_chunk_in_which_every_task_failed_settles_no_success() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer("x")
    done = bench.back("a", failed={0: failure()})
    assert verdicts(done) == [("x", 1, Verdict.FAILED)]
    assert not any(isinstance(one, Settle) for one in done)


@pytest.mark.parametrize("slot", ["a", "b", "unheard-of"])
def test_an_answer_from_a_slot_that_does_not_hold_the_chunk_is_ignored(slot: str) -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.offer("x")
    number = bench.held["a"][0].number
    bench.back("a")
    assert bench.do(returned(slot, number, 1)) == []


def test_an_answer_from_before_a_slot_rejoined_is_ignored() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer("x", "y")
    before = bench.held["a"][0].number
    bench.lose("a", on_request=True)
    bench.join("a")
    assert bench.do(returned("a", before, 1)) == []
    assert settled(bench.back("a")) == ["x"]


# -- failed attempts


def test_a_failed_attempt_is_retried_as_often_as_the_policy_says() -> None:
    bench = Bench("a")
    bench.stage(retries=2)
    bench.offer("x")
    bench.exhaust()
    ends: list[tuple[str, int, Verdict]] = []
    for _ in range(3):
        assert bench.held["a"][0].attempt == len(ends) + 1
        ends += verdicts(bench.back("a", failed={0: failure()}))
    assert ends == [("x", 1, Verdict.RETRY), ("x", 2, Verdict.RETRY), ("x", 3, Verdict.FAILED)]
    assert bench.held["a"] == []


def test_a_retried_task_travels_alone_and_before_the_others() -> None:
    bench = Bench("a")
    bench.stage(retries=1)
    bench.learn(0.001)
    bench.offer_many(8)
    assert bench.on("a") == [["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7"]]
    bench.offer("late")
    bench.back("a", failed={2: failure()})
    assert bench.on("a") == [["s4", "s5", "s6", "s7"], ["s2"]]


def test_a_stage_does_not_finish_while_a_retry_is_due() -> None:
    bench = Bench("a")
    bench.stage(retries=1)
    bench.offer("x")
    bench.exhaust()
    assert finished(bench.back("a", failed={0: failure()})) == []
    assert finished(bench.back("a")) == ["s"]


# -- lost slots


def test_a_slot_that_vanishes_costs_its_first_unanswered_task_an_attempt() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("w", "x", "y", "z")
    bench.do(returned("a", bench.held["a"][0].number, 1))
    (lost,) = bench.lose("a")
    assert isinstance(lost, SettleFailure)
    assert (lost.task.key, lost.attempt, lost.verdict) == ("x", 1, Verdict.RELOCATE)
    assert lost.failure.cause is Cause.SLOT_LOST
    assert "slot a vanished: signal 9" in lost.failure.error.message
    assert bench.dispatch.in_flight("s") == 3


def test_a_task_is_lost_once_its_slots_vanish_too_many_times() -> None:
    bench = Bench("a")
    bench.stage(losses=2)
    bench.offer("x")
    bench.exhaust()
    ends = []
    for _ in range(3):
        ends += verdicts(bench.lose("a"))
        bench.join("a")
    assert ends == [("x", 1, Verdict.RELOCATE), ("x", 2, Verdict.RELOCATE), ("x", 3, Verdict.LOST)]
    assert bench.dispatch.in_flight("s") == 0


def test_lost_attempts_do_not_use_up_retries() -> None:
    bench = Bench("a")
    bench.stage(retries=1, losses=1)
    bench.offer("x")
    ends = verdicts(bench.lose("a"))
    bench.join("a")
    ends += verdicts(bench.back("a", failed={0: failure()}))
    ends += verdicts(bench.back("a", failed={0: failure()}))
    assert ends == [("x", 1, Verdict.RELOCATE), ("x", 2, Verdict.RETRY), ("x", 3, Verdict.FAILED)]


def test_a_crash_is_blamed_on_the_task_that_ran() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer_many(8)
    running = bench.held["a"][0].number
    done = bench.lose("a", chunk=running, index=2, blame=failure(Cause.SIGNAL))
    assert verdicts(done) == [("s2", 1, Verdict.FAILED)]
    assert bench.dispatch.in_flight("s") == 7


def test_a_crash_in_the_second_chunk_is_not_blamed_on_the_first() -> None:
    bench = Bench("a")
    bench.stage(retries=1)
    bench.learn(SHORT_S)
    bench.offer("x", "y")
    second = bench.held["a"][1].number
    done = bench.lose("a", chunk=second, index=0, blame=failure(Cause.SIGNAL))
    assert verdicts(done) == [("y", 1, Verdict.RETRY)]


def test_a_slot_that_dies_of_a_task_already_answered_for_costs_nobody_an_attempt() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer("x", "y", "z")
    number = bench.held["a"][0].number
    bench.do(returned("a", number, 2))
    assert verdicts(bench.lose("a", chunk=number, index=1, blame=failure(Cause.SIGNAL))) == []
    bench.join("a")
    assert bench.on("a") == [["z"]]


def test_a_slot_ended_on_request_costs_nobody_an_attempt() -> None:
    bench = Bench("a")
    bench.stage(losses=0)
    bench.offer("x")
    number = bench.held["a"][0].number
    assert bench.lose("a", chunk=number, on_request=True) == []
    bench.join("a")
    assert [chunk.attempt for chunk in bench.held["a"]] == [1]


def test_tasks_that_never_started_wait_again_in_their_order_and_before_the_others() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    bench.offer_many(8)
    bench.offer("late")
    assert bench.on("a") == [["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7"]]
    bench.lose("a", on_request=True)
    bench.join("a")
    assert bench.on("a") == [["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7"]]


def test_a_suspect_travels_alone_with_nothing_before_or_behind_it() -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.learn(SHORT_S)
    bench.offer_many(8)
    assert [len(bench.on(slot)) for slot in "ab"] == [2, 2]
    bench.lose("b")
    suspect = next(one for one in ["s0", "s1"] if one not in bench.all_held())
    bench.back("a", each_s=SHORT_S)
    assert [suspect] not in bench.on("a")  # it waits for an empty slot
    bench.back("a", each_s=SHORT_S)
    assert bench.on("a") == [[suspect]]
    bench.back("a", each_s=SHORT_S)
    assert len(bench.on("a")) == 2


def test_a_slot_that_never_joined_may_leave() -> None:
    bench = Bench("a")
    assert bench.do(Leave(slot="b", reason="gone", at=0.0)) == []
    assert bench.dispatch.slots == 1


# -- ends


def test_a_stage_finishes_once_it_is_exhausted_and_everything_is_settled() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer("x")
    assert finished(bench.exhaust()) == []
    assert finished(bench.back("a")) == ["s"]
    assert bench.dispatch.in_flight("s") == 0


def test_a_stage_without_tasks_finishes_when_it_is_exhausted() -> None:
    bench = Bench()
    bench.stage()
    assert finished(bench.exhaust()) == ["s"]


def test_the_last_outcome_comes_before_the_end_of_its_stage() -> None:
    bench = Bench("a")
    bench.stage()
    bench.offer("x")
    bench.exhaust()
    assert [type(one).__name__ for one in bench.back("a")] == ["Settle", "Finish"]


def test_a_cancelled_stage_is_killed_where_it_runs_and_dropped_where_it_waits() -> None:
    bench = Bench("a", "b")
    bench.stage("x")
    bench.stage("y")
    bench.offer("x0", "x1", "x2", stage="x")
    bench.offer("y0", "y1", stage="y")
    held = [(slot, bench.held[slot][0].number) for slot in "ab"]
    bench.join("c")
    assert bench.on("c") == [["y0"]]
    assert killed(bench.do(Cancel("x"))) == held
    assert bench.dispatch.in_flight("x") == 0
    for slot in "ab":
        assert verdicts(bench.lose(slot, on_request=True)) == []
    bench.join("a", "b")
    assert bench.all_held() == ["y0", "y1"]


def test_an_answer_of_a_cancelled_stage_frees_the_slot_and_settles_nothing() -> None:
    bench = Bench("a")
    bench.stage("x")
    bench.stage("y")
    bench.offer("x0", stage="x")
    bench.do(Cancel("x"))
    bench.offer("y0", stage="y")
    assert bench.on("a") == [["x0"]]
    done = bench.back("a")
    assert settled(done) == []
    assert bench.on("a") == [["y0"]]


def test_nothing_is_parked_behind_a_chunk_that_is_to_be_killed() -> None:
    bench = Bench("a")
    bench.stage("x")
    bench.stage("y")
    for stage in "xy":
        bench.learn(SHORT_S, stage=stage)
    bench.offer("x0", stage="x")
    bench.do(Cancel("x"))
    bench.offer("y0", stage="y")
    assert bench.on("a") == [["x0"]]


def test_innocents_behind_a_killed_chunk_run_again_without_blame() -> None:
    bench = Bench("a")
    bench.stage("x")
    bench.stage("y", losses=0)
    for stage in "xy":
        bench.learn(SHORT_S, stage=stage)
    bench.offer("x0", stage="x")
    bench.offer("y0", stage="y")
    assert bench.on("a") == [["x0"], ["y0"]]
    bench.do(Cancel("x"))
    assert bench.lose("a", on_request=True) == []
    bench.join("a")
    assert bench.on("a") == [["y0"]]


def test_a_slot_that_vanishes_under_a_cancelled_stage_costs_nobody_an_attempt() -> None:
    bench = Bench("a")
    bench.stage("x")
    bench.stage("y", losses=0)
    for stage in "xy":
        bench.learn(SHORT_S, stage=stage)
    bench.offer("x0", stage="x")
    bench.offer("y0", stage="y")
    bench.do(Cancel("x"))
    assert bench.lose("a") == []


def test_cancelling_what_has_finished_does_nothing() -> None:
    bench = Bench("a")
    bench.stage()
    bench.do(Exhaust("s"))
    assert bench.do(Cancel("s")) == []


# -- the window


def test_the_window_keeps_every_slot_fed_and_is_no_larger() -> None:
    bench = Bench("a", "b", "c")
    bench.stage()
    assert bench.dispatch.wanted("s") == 3 * (1 + LOOKAHEAD)
    bench.offer_many(6)
    assert bench.dispatch.wanted("s") == 0


def test_the_window_grows_with_depth_and_chunks() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    assert bench.dispatch.wanted("s") == (2 + LOOKAHEAD) * 4


def test_without_slots_there_is_a_window_for_one() -> None:
    bench = Bench()
    bench.stage()
    assert bench.dispatch.wanted("s") == 1 + LOOKAHEAD


def test_the_source_is_not_woken_before_a_quarter_of_the_window_is_free() -> None:
    bench = Bench(*(f"slot{n}" for n in range(8)))
    bench.stage()
    bench.offer_many(16)
    wanted = []
    for n in range(5):
        bench.back(f"slot{n}", each_s=LONG_S)
        wanted.append(bench.dispatch.wanted("s"))
    assert wanted == [0, 0, 0, 4, 5]


def test_without_slots_as_many_tasks_are_read_as_the_expected_ones_would_take() -> None:
    dispatch = Dispatch(expected=6)
    dispatch.handle(Open("s", Policy()))
    assert dispatch.wanted("s") == 6 * (1 + LOOKAHEAD)
    dispatch.handle(Join("a"))
    assert dispatch.wanted("s") == 6 * (1 + LOOKAHEAD)


def test_the_demand_is_how_many_slots_would_have_a_chunk() -> None:
    bench = Bench("a")
    bench.stage()
    assert bench.dispatch.demand == 0
    bench.offer_many(5)
    assert bench.dispatch.demand == 5
    bench.back("a", each_s=LONG_S)
    assert bench.dispatch.demand == 4


def test_short_tasks_demand_fewer_slots() -> None:
    bench = Bench("a")
    bench.stage()
    bench.learn(0.001)
    assert bench.dispatch.demand == 0
    bench.offer_many(9)
    assert bench.dispatch.demand == 3


def test_a_slot_is_idle_until_it_has_a_chunk() -> None:
    bench = Bench("a", "b")
    bench.stage()
    bench.offer("only")
    assert [bench.dispatch.is_idle(slot) for slot in "ab"] == [False, True]


@pytest.mark.parametrize("name", ["exhausted", "cancelled", "unheard-of"])
def test_a_stage_that_takes_no_more_tasks_wants_none(name: str) -> None:
    bench = Bench("a")
    for stage in ("exhausted", "cancelled"):
        bench.stage(stage)
        bench.offer(stage, stage=stage)
    bench.do(Exhaust("exhausted"))
    bench.do(Cancel("cancelled"))
    assert bench.dispatch.wanted(name) == 0


def test_a_task_does_not_hop_among_slots_that_leave_together() -> None:
    bench = Bench("a", "b", "c", "far")
    bench.stage()
    bench.offer("only")
    assert bench.on("a") == [["only"]]
    told = []
    for slot in "abc":
        del bench.held[slot]
        told += bench.do(Leave(slot=slot, reason="its node died", at=1.0, more=slot != "c"))
    assert verdicts(told) == [("only", 1, Verdict.RELOCATE)]
    assert bench.on("far") == [["only"]]
    assert bench.held["far"][0].attempt == 2


def test_tasks_of_one_stage_keep_their_order() -> None:
    bench = Bench("a")
    bench.stage()
    bench.do(Offer("s", tasks("s", [f"k{n:03}" for n in range(300)])))
    bench.exhaust()
    order: list[str] = []
    while bench.held["a"]:
        order += settled(bench.back("a"))
    assert order == [f"k{n:03}" for n in range(300)]
