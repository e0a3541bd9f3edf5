from __future__ import annotations

import math

import pytest

from hpcflow.timing.overhead import overheads_of
from tests.journals import Script


def test_overheads_are_those_of_each_slot_around_its_attempts() -> None:
    script = Script().session(0, slots=3).joined(1, "a").joined(1, "b").joined(1, "idle")
    script.stage(1, total=3).offered(1, "k0", "k1", "k2")
    script.ran(9, [("k0", 2, 5), ("k1", 7, 9)]).ran(8, [("k2", 4, 8)], slot="b").close(12)
    overheads = overheads_of(script.events)
    assert overheads is not None
    assert overheads.slots == 2
    assert (overheads.start.mean_s, overheads.end.mean_s, overheads.between.mean_s) == (3, 3.5, 1)
    assert overheads.start.deviation_s == pytest.approx(math.sqrt(2))


def test_each_session_counts_for_itself() -> None:
    script = Script().session(0).joined(1).stage(1).ran(5, [("k0", 2, 5)])
    script.session(100).joined(101).stage(101).ran(106, [("k1", 104, 106)]).close(108)
    overheads = overheads_of(script.events)
    assert overheads is not None
    assert overheads.slots == 2
    assert (overheads.start.mean_s, overheads.end.mean_s) == (3, 1)


def test_one_slot_has_no_deviation_and_an_idle_run_no_overheads() -> None:
    script = Script().session(0).joined(1).stage(1)
    assert overheads_of(script.events) is None
    overheads = overheads_of(script.ran(5, [("k0", 2, 5)]).events)
    assert overheads is not None
    assert math.isnan(overheads.between.deviation_s)
