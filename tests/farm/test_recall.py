"""A long task among short ones holds up nobody else."""

from __future__ import annotations

import time
from pathlib import Path

from hpcflow import Farm
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

COUNT = 6000
LONG = 5000


def _mostly_short(task: tuple[str, int]) -> int:
    """Return at once, but for one task that takes as long as its gate is not there."""
    gate, number = task
    while number == LONG and not Path(gate).exists():
        time.sleep(0.02)
    return number


def test_tasks_packed_behind_a_long_one_run_elsewhere(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ended: list[int] = []
    with Farm(slots=2, run=tmp_path / "run") as farm:
        farm.wait_for_slots()
        for outcome in farm.map(_mostly_short, [(str(gate), n) for n in range(COUNT)]):
            ended.append(outcome.result())
            if len(ended) == COUNT - 1:
                gate.touch()  # what came before it with its chunk is out only now
    assert sorted(ended) == list(range(COUNT))
    assert verify(RunDirectory(tmp_path / "run")).complete
