from __future__ import annotations

import random

import numpy as np

from hpcflow.dashboards.gather import ENDINGS, Attempts
from hpcflow.dashboards.timeline import bars_of
from hpcflow.timing.attempt import Ended


def attempts(rows: list[tuple[str, Ended, float, float]]) -> Attempts:
    slots = sorted({slot for slot, *_ in rows})
    return Attempts(
        slot=np.array([slots.index(slot) for slot, *_ in rows], dtype=np.int32),
        stage=np.zeros(len(rows), dtype=np.int32),
        ended=np.array([ENDINGS.index(ended) for _, ended, *_ in rows], dtype=np.int32),
        number=np.ones(len(rows), dtype=np.int32),
        start=np.array([start for *_, start, _ in rows]),
        end=np.array([end for *_, end in rows]),
        keys=[f"k{number}" for number in range(len(rows))],
        slots=slots,
        stages=["simulate"],
    )


def test_few_attempts_are_drawn_one_by_one() -> None:
    bars = bars_of(attempts([("b", Ended.SUCCEEDED, 5, 9), ("a", Ended.FAILED, 0, 4)]))
    assert (bars.gap, list(bars.count), list(bars.start)) == (0.0, [1, 1], [0, 5])


def test_merged_bars_keep_every_attempt_and_all_busy_time() -> None:
    generator = random.Random(5)
    rows = []
    for slot in "abcd":
        clock = 0.0
        for _ in range(2000):
            begin = clock + generator.random() * 0.01
            clock = begin + generator.random()
            rows.append((slot, Ended.SUCCEEDED, begin, clock))
    table = attempts(rows)
    bars = bars_of(table, most=500)
    assert len(bars) <= 500
    assert bars.gap > 0
    assert bars.count.sum() == len(table)
    assert np.isclose(bars.busy.sum(), (table.end - table.start).sum())
    assert (bars.busy <= bars.end - bars.start + 1e-9).all()


def test_a_failure_among_thousands_keeps_a_bar_of_its_own() -> None:
    rows = [("a", Ended.SUCCEEDED, float(n), n + 0.9) for n in range(5000)]
    rows[2500] = ("a", Ended.FAILED, 2500.0, 2500.9)
    bars = bars_of(attempts(rows), most=100)
    failed = bars.ended == ENDINGS.index(Ended.FAILED)
    assert list(bars.count[failed]) == [1]
    assert list(bars.start[failed]) == [2500.0]


def test_no_attempts_make_no_bars() -> None:
    assert len(bars_of(attempts([]))) == 0
