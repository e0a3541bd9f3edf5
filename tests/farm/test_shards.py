"""Several Dask schedulers under one dispatcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hpcflow import Farm, current_task
from hpcflow.core.event import SlotLost
from hpcflow.errors import FarmError, RequestError
from hpcflow.farm.transport import TransportName
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify


def _where(_: int) -> str:
    time.sleep(0.05)
    return current_task().slot


def _hold(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.02)
    return current_task().slot


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass in a minute"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_one_dispatcher_feeds_the_workers_of_every_shard(tmp_path: Path) -> None:
    with Farm(slots=4, workers=4, shards=2, run=tmp_path / "run") as farm:
        assert list(farm.process_ids) == ["scheduler", "scheduler-2", "w0", "w1", "w2", "w3"]
        farm.wait_for_slots()
        used = Counter(outcome.result() for outcome in farm.map(_where, range(40)))
        first = farm.client.scheduler_info(n_workers=-1)["workers"].values()
        assert sorted(worker["name"] for worker in first) == ["w0", "w1"]
    assert sorted(used) == ["w0.0", "w1.0", "w2.0", "w3.0"]
    assert verify(RunDirectory(tmp_path / "run")).complete
    assert not list((tmp_path / "run").glob("scheduler*.json"))


@pytest.mark.parametrize("transport", ["lanes", "tasks"])
@pytest.mark.parametrize("lost", ["scheduler", "scheduler-2"])
def test_the_loss_of_a_shard_loses_only_its_slots(
    tmp_path: Path, lost: str, transport: TransportName
) -> None:
    gate = tmp_path / "gate"
    with Farm(slots=4, workers=4, shards=2, run=tmp_path / "run", transport=transport) as farm:
        farm.wait_for_slots()
        outcomes = farm.map(_hold, [str(gate)] * 12)
        _until(lambda: farm.statistics().in_flight >= 4)
        os.kill(farm.process_ids[lost], signal.SIGKILL)
        _until(lambda: farm.statistics().slots == 2)
        gate.touch()
        used = {outcome.result() for outcome in outcomes}
        still = [farm.process_ids[name] for name in ("w0", "w1", "w2", "w3")]
        _until(lambda: sum(_runs(pid) for pid in still) == 2)
    kept = {"w2.0", "w3.0"} if lost == "scheduler" else {"w0.0", "w1.0"}
    assert used == kept
    assert verify(RunDirectory(tmp_path / "run")).complete
    events = read_journal(RunDirectory(tmp_path / "run").journal)
    gone = [event.slot for event in events if isinstance(event, SlotLost)]
    assert sorted(gone) == sorted({"w0.0", "w1.0", "w2.0", "w3.0"} - kept)


LOSES = """
import os, signal, sys, time
from hpcflow import Farm, FarmError

def nap(_):
    time.sleep(0.05)

if __name__ == "__main__":
    with Farm(slots=2, workers=2, shards=2) as farm:
        farm.wait_for_slots()
        for scheduler in sys.argv[1:]:
            os.kill(farm.process_ids[scheduler], signal.SIGKILL)
        try:
            print(len(list(farm.map(nap, range(40)))))
        except FarmError as error:
            print(error)
"""


@pytest.mark.parametrize(
    ("lost", "told"), [(["scheduler-2"], "40"), (["scheduler", "scheduler-2"], "cannot go on")]
)
def test_dask_says_nothing_of_a_shard_that_is_lost(
    tmp_path: Path, lost: list[str], told: str
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(LOSES)
    done = subprocess.run(
        [sys.executable, driver, *lost], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(told)
    assert done.stderr == ""


def test_the_loss_of_every_shard_ends_the_farm(tmp_path: Path) -> None:
    def lose_both() -> None:
        with Farm(slots=2, workers=2, shards=2) as farm:
            farm.wait_for_slots()
            outcomes = farm.map(_hold, [str(tmp_path / "gate")] * 2)
            for name in ("scheduler", "scheduler-2"):
                os.kill(farm.process_ids[name], signal.SIGKILL)
            list(outcomes)

    with pytest.raises(FarmError, match=r"cannot go on: scheduler(-2)? ended with code -9"):
        lose_both()


@pytest.mark.parametrize("shards", [0, 3, 1.5, True])
def test_a_farm_has_a_worker_for_every_shard(shards: object) -> None:
    with pytest.raises(
        RequestError, match=r"cannot share 2 workers among .* Ask for 1 to 2 shards"
    ):
        Farm(slots=2, workers=2, shards=shards)  # type: ignore[arg-type]
