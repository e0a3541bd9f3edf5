from __future__ import annotations

import sys

import pytest

from hpcflow.core.event import AnyEvent
from hpcflow.core.state import LATEST_FAILURES, RunState
from tests.journals import Script


def fold(script: Script) -> RunState:
    state = RunState()
    for event in script.events:
        state.apply(event)
    return state


def started() -> Script:
    return Script().session(0, slots=2).joined(1, "a").joined(1, "b").stage(2, total=4)


def test_a_run_without_events_is_empty() -> None:
    state = RunState()
    assert (state.offered, state.ended, state.running, state.session) == (0, 0, 0, None)
    assert state.expected == 0
    assert state.rate(10.0) is None


def test_counts_follow_tasks_from_offer_to_outcome() -> None:
    script = started().offered(2, "k0", "k1", "k2", "k3").sent(3, "k0").sent(3, "k1", slot="b")
    state = fold(script)
    assert (state.offered, state.running, state.waiting, state.ended) == (4, 2, 2, 0)
    assert state.slots["a"].running is not None
    assert state.slots["a"].running.key == "k0"

    script.ran(5, [("k0", 3, 5)]).failed(6, "k1", (3, 6), slot="b")
    state = fold(script)
    stage = state.stages["simulate"]
    assert (stage.succeeded, stage.failed, stage.running, stage.waiting) == (1, 1, 0, 2)
    assert stage.expected == 4


def test_of_a_chunk_only_one_task_runs_at_a_time() -> None:
    script = started().offered(2, "k0", "k1", "k2").sent(3, "k0", "k1", "k2")
    state = fold(script)
    assert (state.running, state.waiting) == (1, 2)
    state = fold(script.ran(4, [("k0", 3, 4)]))
    running = state.slots["a"].running
    assert running is not None
    assert (running.key, running.started) == ("k1", 4)


def test_a_failed_attempt_that_is_tried_again_is_no_outcome() -> None:
    script = started().offered(2, "k0").sent(3, "k0").failed(4, "k0", (3, 4), again=True)
    state = fold(script)
    assert (state.ended, state.retried, state.waiting) == (0, 1, 1)
    assert not state.failures[-1].final
    state = fold(script.sent(5, "k0", slot="b", attempt=2).ran(6, [("k0", 5, 6)], slot="b"))
    assert (state.succeeded, state.retried, state.running) == (1, 1, 0)


def test_a_lost_slot_is_down_and_what_it_held_waits_again() -> None:
    script = started().offered(2, "k0", "k1").sent(3, "k0", "k1")
    state = fold(script.slot_lost(4, reason="signal 9"))
    assert (state.running, state.waiting, state.slots_up) == (0, 2, 1)
    assert (state.slots["a"].up, state.slots["a"].reason) == (False, "signal 9")
    state = fold(script.attempt_lost(4, "k0").joined(5, "a"))
    assert (state.retried, state.slots_up) == (1, 2)


def test_a_session_that_opens_again_ends_what_ran_in_the_killed_one() -> None:
    script = started().offered(2, "k0", "k1").sent(3, "k0").sent(3, "k1", slot="b")
    script.ran(4, [("k0", 3, 4)])
    assert fold(script).running == 1
    state = fold(script.session(100, slots=2, pid=5))
    assert (state.running, state.slots, state.ended) == (0, {}, 1)
    assert [session.closed for session in state.sessions] == [None, None]
    assert state.sessions[-1].replayed == 1


def test_a_closed_session_says_why_and_has_no_slots_up() -> None:
    state = fold(started().close(9, "interrupted"))
    assert state.session is not None
    assert (state.session.closed, state.session.reason) == (9, "interrupted")
    assert state.slots_up == 0


def test_a_cancelled_stage_has_nothing_waiting() -> None:
    script = started().offered(2, "k0", "k1", "k2").sent(3, "k0").ran(4, [("k0", 3, 4)])
    stage = fold(script.stage_closed(5, offered=3, cancelled=True)).stages["simulate"]
    assert (stage.waiting, stage.expected, stage.cancelled) == (0, 1, True)


def test_a_stream_has_no_known_end_until_it_is_closed() -> None:
    script = Script().session(0).joined(1).stage(1, kind="stream").offered(1, "k0", "k1")
    script.sent(2, "k0").ran(4, [("k0", 2, 4)])
    state = fold(script)
    assert state.expected is None
    assert state.estimated_end(4.0) is None
    assert state.estimated_end(4.0, total=3) == pytest.approx(4 + 2 / 0.5)
    state = fold(script.stage_closed(4, offered=2))
    assert state.estimated_end(4.0) == pytest.approx(6)


def test_the_estimated_end_is_now_once_nothing_is_left() -> None:
    script = Script().session(0).joined(1).stage(1, total=1).offered(1, "k0").sent(2, "k0")
    assert fold(script.ran(4, [("k0", 2, 4)])).estimated_end(50.0) == 50.0


def test_the_rate_counts_only_this_session_and_fades_while_nothing_ends() -> None:
    script = started().offered(2, "k0", "k1", "k2", "k3").sent(3, "k0").ran(4, [("k0", 3, 4)])
    script.session(100).joined(101).stage(102, total=4).sent(102, "k1").ran(106, [("k1", 102, 106)])
    state = fold(script)
    assert state.rate(106.0) == pytest.approx(0.25)
    assert state.rate(110.0) == pytest.approx(0.125)


def test_the_rate_is_the_recent_one() -> None:
    script = Script().session(0).joined(0).stage(0, kind="stream").sent(0, "k")
    for second in range(1, 101):
        script.ran(second, [(f"slow-{second}", second - 1, second)])
    for step in range(1, 1001):
        script.ran(100 + step * 0.1, [(f"fast-{step}", 0, 1)])
    assert fold(script).rate(200.0) == pytest.approx(10, rel=0.05)


def test_failures_are_bounded_and_the_latest_are_kept() -> None:
    script = started()
    for number in range(LATEST_FAILURES + 5):
        script.failed(3 + number, f"k{number}", (3, 3 + number))
    failures = fold(script).failures
    assert len(failures) == LATEST_FAILURES
    assert failures[-1].key == f"k{LATEST_FAILURES + 4}"
    assert failures[-1].host == "node1"


def test_memory_does_not_grow_with_tasks() -> None:
    def size(tasks: int) -> int:
        state = RunState()
        events: list[AnyEvent] = Script().session(0).joined(0).stage(0, kind="stream").events
        for event in events:
            state.apply(event)
        for number in range(tasks):
            step = Script().offered(number, f"k{number}").sent(number, f"k{number}")
            for event in step.ran(number + 1, [(f"k{number}", number, number + 1)]).events:
                state.apply(event)
        flight = state._flight
        held = (flight._holder, flight._queues["a"], state._rate._buckets, state.failures)
        return sum(len(one) for one in held) + sys.getsizeof(flight._holder)

    assert size(2000) <= size(200) + 64
