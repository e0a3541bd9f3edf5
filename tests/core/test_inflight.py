from __future__ import annotations

from hpcflow.core.event import ChunkSent
from hpcflow.core.inflight import InFlight


def sent(at: float, *keys: str, slot: str = "a", attempt: int = 1) -> ChunkSent:
    return ChunkSent(at=at, chunk=1, stage="s", slot=slot, attempt=attempt, keys=list(keys))


def running(flight: InFlight, slot: str = "a") -> tuple[str, int, float, float] | None:
    """Return key, attempt, and when the task was sent and began."""
    one = flight.running(slot)
    return None if one is None else (one.key, one.attempt, one.submitted, one.started)


def test_a_slot_runs_what_it_was_sent_first() -> None:
    flight = InFlight()
    assert running(flight) is None
    assert flight.send(sent(1.0, "x", "y")) == set()
    flight.send(sent(2.0, "z"))
    assert running(flight) == ("x", 1, 1.0, 1.0)


def test_the_next_task_begins_when_the_one_before_it_ended() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x", "y"))
    flight.back("a", "s", keys=["x"], finished=5.0)
    assert running(flight) == ("y", 1, 1.0, 5.0)
    flight.back("a", "s", keys=["y"], finished=6.0)
    assert running(flight) is None


def test_a_task_sent_to_an_idle_slot_begins_when_it_was_sent() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x"))
    flight.back("a", "s", keys=["x"], finished=2.0)
    flight.send(sent(7.0, "y"))
    assert running(flight) == ("y", 1, 7.0, 7.0)


def test_what_is_back_late_does_not_turn_time_back() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x", "y", "z"))
    flight.back("a", "s", keys=["y"], finished=5.0)
    flight.back("a", "s", keys=["x"], finished=4.0)
    assert running(flight) == ("z", 1, 1.0, 5.0)


def test_a_task_sent_elsewhere_is_no_longer_where_it_was() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x", "y"))
    assert flight.send(sent(2.0, "x", slot="b", attempt=2)) == {"a"}
    assert running(flight) == ("y", 1, 1.0, 1.0)
    assert running(flight, "b") == ("x", 2, 2.0, 2.0)
    assert [one.slot for one in flight.all_running()] == ["a", "b"]


def test_equal_keys_of_two_stages_are_two_tasks() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x"))
    flight.send(ChunkSent(at=2.0, chunk=2, stage="t", slot="b", attempt=1, keys=["x"]))
    flight.back("a", "s", keys=["x"], finished=3.0)
    assert [(one.stage, one.key) for one in flight.all_running()] == [("t", "x")]


def test_a_slot_that_is_gone_has_nothing_in_hand() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x", "y"))
    flight.send(sent(1.0, "z", slot="b"))
    gone = flight.forget("a")
    assert gone is not None
    assert gone.key == "x"
    assert [one.key for one in flight.all_running()] == ["z"]
    assert flight.send(sent(2.0, "x", "y", slot="b")) == set()
    assert flight.forget("unheard-of") is None


def test_a_slot_may_be_left_with_what_it_runs() -> None:
    flight = InFlight()
    flight.send(sent(1.0, "x", "y", "z"))
    flight.only_running("a")
    flight.only_running("unheard-of")
    flight.back("a", "s", keys=["x"], finished=2.0)
    assert running(flight) is None
    assert flight.send(sent(3.0, "y", "z", slot="b")) == set()


def test_an_end_that_nobody_expected_does_no_harm() -> None:
    flight = InFlight()
    flight.back("a", "s", keys=["x"], finished=2.0)
    assert running(flight) is None
