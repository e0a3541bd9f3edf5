"""Many tasks: a million of nothing in flat memory, thousands of a millisecond."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from hpcflow import Farm
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

MILLION = 1_000_000
GROWTH_BYTES = 100 << 20


def nothing(number: int) -> None:
    return None


def millisecond(number: int) -> int:
    time.sleep(0.001)
    return number


def resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def test_a_million_lazily_generated_tasks_leave_memory_flat(tmp_path: Path) -> None:
    with Farm(slots=2, run=tmp_path / "run") as farm:
        farm.wait_for_slots()
        list(farm.map(nothing, range(1000), stage="warm"))
        pids = [os.getpid(), *farm.process_ids.values()]
        before = {pid: resident(pid) for pid in pids}
        peaks = dict(before)
        count = 0
        for outcome in farm.map(nothing, (n for n in range(MILLION)), stage="many"):
            count += 1
            assert outcome.result() is None
            if count % 50_000 == 0:
                peaks = {pid: max(peaks[pid], resident(pid)) for pid in pids}
    growth = {pid: peaks[pid] - before[pid] for pid in pids}
    assert count == MILLION
    assert max(growth.values()) < GROWTH_BYTES, growth
    verdict = verify(RunDirectory(tmp_path / "run"))
    assert verdict.complete
    assert verdict.succeeded == MILLION + 1000


def test_five_thousand_tasks_of_a_millisecond_all_come_back(tmp_path: Path) -> None:
    with Farm(slots=2, run=tmp_path / "run") as farm:
        values = [outcome.result() for outcome in farm.map(millisecond, range(5000))]
    assert sorted(values) == list(range(5000))
    assert verify(RunDirectory(tmp_path / "run")).complete
