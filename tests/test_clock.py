from __future__ import annotations

import time

import pytest

from hpcflow.clock import Clock, ManualClock, SystemClock


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_monotonic_time_does_not_go_back(clock: Clock) -> None:
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_the_system_clock_tells_the_time_of_day() -> None:
    before = time.time()
    now = SystemClock().now()
    assert before <= now <= time.time()


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(start=100.0)
    assert clock.now() == clock.now() == clock.monotonic() == 100.0
    clock.advance(2.5)
    assert clock.now() == clock.monotonic() == 102.5
