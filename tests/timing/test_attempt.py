from __future__ import annotations

import math

from hpcflow.timing.attempt import CUT_OFF, Batch, Ended, batches_of
from tests.journals import Script


def started() -> Script:
    return Script().session(0).joined(1).stage(1, total=3).offered(1, "k0", "k1", "k2")


def attempts(script: Script, *, now: float | None = None) -> list[Batch]:
    return list(batches_of(script.events, now=now))


def test_a_recorded_attempt_keeps_its_stamps_and_place() -> None:
    (batch,) = attempts(started().sent(2, "k0").ran(5, [("k0", 3, 4)]).close(6))
    assert (batch.ended, batch.cause, batch.session, batch.final) == ("succeeded", "", 1, True)
    assert (batch.started, batch.finished, batch.collected) == ([3], [4], 5)
    assert (batch.place.host, batch.place.worker, batch.place.device) == ("node1", "w0", "cpu")


def test_a_vanished_attempt_began_when_its_slot_was_free_for_it() -> None:
    script = started().sent(2, "k0", "k1").ran(4, [("k0", 2, 4)]).slot_lost(9).attempt_lost(9, "k1")
    assert [(batch.ended, *batch.started, *batch.finished) for batch in attempts(script)] == [
        ("succeeded", 2, 4),
        ("lost", 4, 9),
    ]


def test_the_loss_may_be_told_before_the_slot_is() -> None:
    script = started().sent(2, "k0", "k1").attempt_lost(9, "k0").slot_lost(9).joined(10).close(12)
    lost = [batch for batch in attempts(script) if batch.finished[0] > batch.started[0]]
    assert [(*batch.keys, *batch.started, *batch.finished) for batch in lost] == [("k0", 2, 9)]


def test_a_killed_driver_cuts_off_what_ran_at_its_last_event() -> None:
    script = started().sent(2, "k0", "k1").ran(4, [("k0", 2, 4)]).offered(7, "k3")
    script.session(50)
    cut = attempts(script)[-1]
    assert (cut.session, cut.keys, cut.ended, cut.cause) == (1, ("k1",), Ended.LOST, CUT_OFF)
    assert (cut.started, cut.finished) == ((4,), (7,))
    assert math.isnan(cut.collected)


def test_a_dead_last_session_counts_as_killed_and_a_live_one_as_running() -> None:
    script = started().sent(2, "k0")
    assert [batch.ended for batch in attempts(script)] == [Ended.LOST]
    (running,) = attempts(script, now=9.0)
    assert (running.ended, running.finished) == (Ended.RUNNING, (9.0,))


def test_what_a_cancelled_stage_had_killed_is_lost_up_to_the_loss_of_its_slot() -> None:
    script = started().sent(2, "k0").stage_closed(3, offered=3, cancelled=True).slot_lost(4)
    (cut,) = attempts(script.joined(6).close(9))
    assert (cut.ended, cut.started, cut.finished) == (Ended.LOST, (2,), (4,))


def test_a_task_sent_on_from_a_lost_slot_is_one_attempt() -> None:
    script = started().joined(1, "b").sent(2, "k0", "k1").slot_lost(3).attempt_lost(3, "k0")
    script.sent(3, "k1", slot="b").ran(5, [("k1", 3, 5)], slot="b").joined(6).close(9)
    assert [(*batch.keys, batch.ended) for batch in attempts(script)] == [
        ("k0", "lost"),
        ("k1", "succeeded"),
    ]
