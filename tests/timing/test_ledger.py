from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.event import AnyEvent
from hpcflow.timing.ledger import Category, Ledger, ledger_of
from tests.journals import Script


def seconds(script: Script, *, now: float | None = None) -> dict[str, float]:
    """Categories that are not zero."""
    ledger = ledger_of(script.events, now=now)
    assert sum(ledger.seconds.values()) == pytest.approx(ledger.allocation_s, abs=1e-6)
    return {category.value: value for category, value in ledger.seconds.items() if value}


def test_a_run_without_events_accounts_for_nothing() -> None:
    ledger = ledger_of([])
    assert (ledger.allocation_s, ledger.utilization, ledger.sessions) == (0.0, 0.0, 0)


def test_every_category_of_a_plain_run() -> None:
    script = Script().session(100, slots=2).joined(110, "a", preload_s=4).joined(112, "b")
    script.stage(112, total=4).offered(112, "k0", "k1", "k2", "k3")
    script.sent(113, "k0").sent(113, "k1", slot="b")
    script.ran(120, [("k0", 113, 120)]).sent(121, "k2").ran(130, [("k2", 121, 130)])
    script.failed(123, "k1", (113, 123), slot="b").sent(123, "k3", slot="b")
    script.ran(126, [("k3", 124, 126)], slot="b")
    script.stage_closed(130, offered=4).close(132)
    assert seconds(script) == {
        "startup": 6 + 12,
        "preload": 4,
        "useful": 7 + 9 + 2,
        "failed": 10,
        # a: nothing is known before 112 (starved 2), then 112-113; b: 112-113; 120-121, 123-124
        "dispatch": 1 + 1 + 1 + 1,
        "starved": 2,
        "tail": 4,
        "shutdown": 4,
    }
    ledger = ledger_of(script.events)
    assert ledger.allocation_s == 64
    assert ledger.makespan_s == 30
    assert ledger.held_s == 32
    assert ledger.utilization == pytest.approx(18 / 64)
    assert (ledger.slots, ledger.sessions, ledger.attempts) == (2, 1, 4)


def test_a_stream_whose_driver_breeds_slowly_starves_its_slot() -> None:
    script = Script().session(0).joined(0).stage(0, kind="stream")
    script.offered(1, "k0").sent(1, "k0").ran(2, [("k0", 1, 2)])
    script.offered(7, "k1").sent(8, "k1").ran(9, [("k1", 8, 9)])
    script.stage_closed(10, offered=2).close(10)
    assert seconds(script) == {"starved": 1 + 5 + 1, "dispatch": 1, "useful": 2}


def test_a_slot_that_never_joins_is_startup_throughout() -> None:
    script = Script().session(0, slots=3).joined(0).close(10)
    assert seconds(script) == {"startup": 20, "shutdown": 10}


def test_an_elastic_farm_holds_a_slot_only_while_it_is_up() -> None:
    script = Script().session(0, slots=4, elastic=True).stage(0, total=3).offered(0, "k0", "k1")
    script.joined(100, "a", preload_s=3).sent(100, "k0", slot="a")
    script.ran(110, [("k0", 100, 110)], slot="a").slot_lost(120, "a")
    script.joined(150, "a", preload_s=2).sent(150, "k1", slot="a")
    script.ran(155, [("k1", 150, 155)], slot="a").stage_closed(155, offered=2).close(156)
    assert seconds(script) == {
        "preload": 3 + 2,
        "useful": 10 + 5,
        "dispatch": 10,
        "shutdown": 1,
    }
    ledger = ledger_of(script.events)
    assert (ledger.slots, ledger.held_s) == (1, 156)


def test_an_elastic_farm_without_work_holds_nothing() -> None:
    script = Script().session(0, slots=4, elastic=True).close(50)
    assert seconds(script) == {}
    assert ledger_of(script.events).utilization == 0.0


def test_between_loss_and_return_a_slot_is_dead() -> None:
    script = Script().session(0).joined(0).stage(0, total=2).offered(0, "k0", "k1")
    script.sent(0, "k0").slot_lost(4).attempt_lost(4, "k0").joined(6)
    script.sent(6, "k0", attempt=2).ran(8, [("k0", 6, 8)], attempt=2)
    script.sent(8, "k1").ran(10, [("k1", 8, 10)]).stage_closed(10, offered=2).close(10)
    assert seconds(script) == {"lost": 4, "dead": 2, "useful": 4}


def test_what_a_killed_driver_left_running_is_lost() -> None:
    script = Script().session(0, slots=2).joined(0, "a").joined(0, "b").stage(0, total=3)
    script.offered(0, "k0", "k1", "k2").sent(0, "k0").sent(0, "k1", slot="b")
    script.ran(5, [("k0", 0, 5)])
    script.session(1000).joined(1000).stage(1000, total=3).sent(1000, "k1")
    script.ran(1003, [("k1", 1000, 1003)]).sent(1004, "k2").ran(1006, [("k2", 1004, 1006)])
    script.stage_closed(1006, offered=3).close(1006)
    assert seconds(script) == {"useful": 5 + 3 + 2, "lost": 5, "dispatch": 1}
    ledger = ledger_of(script.events)
    assert (ledger.held_s, ledger.makespan_s, ledger.sessions) == (11, 1006, 2)


def test_what_runs_in_a_live_run_is_useful_so_far() -> None:
    script = Script().session(0, slots=2).joined(0, "a").joined(0, "b").stage(0, kind="stream")
    script.offered(0, "k0").sent(0, "k0")
    assert seconds(script, now=7.0) == {"useful": 7, "starved": 7}
    script.stage_closed(0, offered=1)
    assert seconds(script, now=7.0) == {"useful": 7, "tail": 7}


def test_cancelled_tasks_do_not_wait() -> None:
    script = Script().session(0, slots=2).joined(0, "a").joined(0, "b").stage(0, total=9)
    script.offered(0, "k0", "k1", "k2", "k3").sent(0, "k0").sent(0, "k1", slot="b")
    script.ran(4, [("k0", 0, 4)]).stage_closed(4, offered=4, cancelled=True)
    script.slot_lost(5, "b").joined(6, "b").close(8)
    assert seconds(script) == {"useful": 4, "lost": 5, "dead": 1, "tail": 1, "shutdown": 3 + 2}


def test_overlapping_and_outlying_stamps_still_sum_to_the_allocation() -> None:
    script = Script().session(100).joined(101).stage(101, total=3).offered(101, "k0", "k1", "k2")
    script.ran(106, [("k0", 99, 104), ("k1", 103, 106), ("k2", 106, 300)]).close(110)
    assert seconds(script) == {"useful": 10}


Step = Callable[[Script, float], object]
instants = st.floats(0, 50, allow_nan=False)
slots = st.sampled_from(["a", "b", "c"])
stages = st.sampled_from(["x", "y"])
keys = st.lists(st.sampled_from(["k", "l", "m", "n"]), min_size=1, max_size=3, unique=True)
counts = st.integers(0, 9)
spans = st.tuples(instants, instants)


def session_step(number: int) -> Step:
    return lambda script, at: script.session(at, slots=number)


def close_step(reason: str) -> Step:
    return lambda script, at: script.close(at, reason)


def stage_step(stage: str, total: int | None) -> Step:
    return lambda script, at: script.stage(at, stage, total=total)


def stage_closed_step(stage: str, offered: int, cancelled: bool) -> Step:
    return lambda script, at: script.stage_closed(at, stage, offered=offered, cancelled=cancelled)


def joined_step(slot: str, preload_s: float) -> Step:
    return lambda script, at: script.joined(at, slot, preload_s=preload_s)


def slot_lost_step(slot: str) -> Step:
    return lambda script, at: script.slot_lost(at, slot)


def offered_step(stage: str, names: list[str]) -> Step:
    return lambda script, at: script.offered(at, *names, stage=stage)


def sent_step(stage: str, slot: str, names: list[str]) -> Step:
    return lambda script, at: script.sent(at, *names, stage=stage, slot=slot)


def ran_step(stage: str, slot: str, ran: dict[str, tuple[float, float]]) -> Step:
    return lambda script, at: script.ran(
        at,
        [(key, at - before, at - before + length) for key, (before, length) in ran.items()],
        stage=stage,
        slot=slot,
    )


def failed_step(stage: str, slot: str, how: tuple[float, bool]) -> Step:
    before, again = how
    return lambda script, at: script.failed(
        at, "k", (at - before, at), stage=stage, slot=slot, again=again
    )


def attempt_lost_step(stage: str, slot: str) -> Step:
    return lambda script, at: script.attempt_lost(at, "l", stage=stage, slot=slot)


within_a_session = st.one_of(
    st.builds(stage_step, stages, st.none() | counts),
    st.builds(stage_closed_step, stages, counts, st.booleans()),
    st.builds(joined_step, slots, instants),
    st.builds(slot_lost_step, slots),
    st.builds(offered_step, stages, keys),
    st.builds(sent_step, stages, slots, keys),
    st.builds(ran_step, stages, slots, st.dictionaries(st.sampled_from("klmn"), spans, min_size=1)),
    st.builds(failed_step, stages, slots, st.tuples(instants, st.booleans())),
    st.builds(attempt_lost_step, stages, slots),
)
anything = st.one_of(
    within_a_session,
    st.builds(session_step, st.integers(1, 4)),
    st.builds(close_step, st.sampled_from(["finished", "interrupted"])),
)


def events_of(timed: list[tuple[float, Step]]) -> list[AnyEvent]:
    """Events in any order, true to nothing but their types."""
    script, at = Script(), 1e9
    for wait, step in timed:
        at += wait
        step(script, at)
    return script.events


def check_books(ledger: Ledger) -> None:
    assert set(ledger.seconds) == set(Category)
    assert all(value >= 0 for value in ledger.seconds.values())
    nanoseconds = [round(value * 1e9) for value in ledger.seconds.values()]
    assert sum(nanoseconds) == round(ledger.allocation_s * 1e9)
    assert 0 <= ledger.utilization <= 1


@settings(max_examples=300, deadline=None)
@given(timed=st.lists(st.tuples(st.floats(-1, 5), anything), max_size=40), live=st.booleans())
def test_categories_are_never_negative_and_sum_to_the_allocation(
    timed: list[tuple[float, Step]], live: bool
) -> None:
    check_books(ledger_of(events_of(timed), now=1e9 + 300 if live else None))


@settings(max_examples=100, deadline=None)
@given(
    timed=st.lists(st.tuples(st.floats(0, 5), within_a_session), max_size=40),
    length=st.integers(1, 100),
)
def test_the_allocation_is_the_slots_times_the_time_they_were_held(
    timed: list[tuple[float, Step]], length: int
) -> None:
    body = events_of(timed)
    end = 1e9 + sum(wait for wait, _ in timed) + length
    ledger = ledger_of([*Script().session(1e9, slots=2).events, *body, *Script().close(end).events])
    check_books(ledger)
    assert ledger.allocation_s == pytest.approx(ledger.slots * ledger.held_s, rel=1e-9)
    assert ledger.held_s == pytest.approx(end - 1e9)


def test_a_million_attempts_take_seconds() -> None:
    generator = random.Random(1)
    script = Script().session(0, slots=50).stage(0, total=1_000_000)
    for slot in range(50):
        script.joined(1, f"s{slot}")
        clock = 1.0
        for chunk in range(200):
            times = []
            for number in range(100):
                begin = clock + generator.random() * 1e-3
                clock = begin + generator.random()
                times.append((f"{slot}-{chunk}-{number}", begin, clock))
            script.ran(clock, times, slot=f"s{slot}")
    ledger = ledger_of(script.events)
    check_books(ledger)
    assert ledger.attempts == 1_000_000
    assert ledger.utilization > 0.95
