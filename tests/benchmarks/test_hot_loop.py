from __future__ import annotations

from benchmarks.hot_loop import driver, loads, loop


def test_the_loop_works_off_every_load() -> None:
    for load in loads(100).values():
        figures = loop(load)
        assert figures["a chunk [us]"] >= figures["a task [us]"] >= 0


def test_the_driver_pays_for_its_tasks() -> None:
    found = driver(100)
    assert all(figures["a task [us]"] > 0 for figures in found.values())
