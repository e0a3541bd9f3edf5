"""Elastic farms on a real Slurm: each worker is a batch job, and comes and goes as it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcflow import Farm, FarmError, current_task
from hpcflow.batch.machine import MACHINES
from hpcflow.core.event import SlotJoined, SlotLost
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify
from tests.slurm.jobs import call

WITHIN_S = 60.0

DRIVER = """
import sys, time
from hpcflow import Farm

with Farm.elastic("test-slurm", minimum=2, maximum=2, walltime_s=600, run=sys.argv[1]) as farm:
    list(farm.map(time.sleep, [600] * 9))
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.1)


def queue(*options: str) -> dict[str, str]:
    """Return the name of each batch job, by its id."""
    answer = call("squeue", "--noheader", "--format=%A %j", *options)
    assert answer.returncode == 0, answer.stderr
    return dict(line.split() for line in answer.stdout.splitlines())


def hold(gate: str) -> tuple[str, str, str]:
    while not os.path.exists(gate):  # noqa: PTH110  # nothing that a runner would have to import
        time.sleep(0.05)
    return current_task().slot, os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"]


def test_it_grows_to_four_and_replaces_a_cancelled_job_and_nothing_is_lost(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    with Farm.elastic("test-slurm", maximum=4, walltime_s=600, run=run) as farm:
        assert queue() == {}
        outcomes = farm.map(hold, [str(gate)] * 40)
        until(lambda: farm.statistics().slots == 8)
        jobs = queue("--states=running")
        assert sorted(jobs.values()) == [f"hpcflow-w{n}" for n in range(1, 5)]
        (cancelled,) = (job for job, name in jobs.items() if name == "hpcflow-w3")
        assert call("scancel", cancelled).returncode == 0
        until(lambda: farm.statistics().slots == 6)
        until(lambda: farm.statistics().slots == 8)
        assert sorted(queue("--states=running").values()) == sorted(jobs.values())
        gate.touch()
        places = {outcome.result() for outcome in outcomes}
        statistics = farm.statistics()
    assert (statistics.succeeded, statistics.failed, statistics.lost) == (40, 0, 0)
    assert {(node, device) for _, node, device in places} == {
        (f"node{n}", device) for n in range(1, 5) for device in "01"
    }
    verdict = verify(RunDirectory(run))
    assert verdict.complete, verdict.problems
    events = list(read_journal(RunDirectory(run).journal))
    lost = [event.slot for event in events if isinstance(event, SlotLost)]
    assert sorted(lost) == ["w3.0", "w3.1"]
    assert sum(isinstance(event, SlotJoined) for event in events) == 8 + 2
    until(lambda: queue() == {})
    assert list(RunDirectory(run).security.iterdir()) == []


def test_jobs_that_fail_at_once_are_few_and_the_farm_says_why(tmp_path: Path) -> None:
    machine, run = tmp_path / "broken.toml", tmp_path / "run"
    setup = 'setup = ["echo cannot load module cuda/99 >&2; exit 3"]\n\n[nodes]'
    machine.write_text((MACHINES / "test-slurm.toml").read_text().replace("[nodes]", setup))
    before = queue("--states=all")
    with (
        pytest.raises(FarmError, match="5 worker jobs in a row have failed on broken") as error,
        Farm.elastic(machine, maximum=4, walltime_s=600, run=run) as farm,
    ):
        list(farm.map(abs, range(1000)))
    assert "cannot load module cuda/99" in str(error.value)
    assert len(queue("--states=all")) - len(before) == 4 + 4
    assert queue() == {}


def test_a_killed_driver_leaves_no_job_behind(tmp_path: Path) -> None:
    """Neither one that runs, nor one that starts only when the farm is long gone."""
    run, driver = tmp_path / "run", tmp_path / "driver.py"
    driver.write_text(DRIVER)
    block = ("--nodes=3", "--exclusive", "--output=/dev/null", "--wrap", "sleep 600")
    blocker = re.findall(r"\d+", call("sbatch", *block).stdout)[0]
    process = subprocess.Popen([sys.executable, driver, run])
    journal = RunDirectory(run).journal
    until(
        lambda: journal.exists() and any(isinstance(e, SlotJoined) for e in read_journal(journal))
    )
    assert len(queue("--states=running")) == 1 + 1
    ((late, name),) = queue("--states=pending").items()
    process.kill()
    process.wait()
    until(lambda: list(queue("--states=running")) == [blocker])
    assert call("scancel", blocker).returncode == 0
    until(lambda: late not in queue())
    log = (run / "logs" / f"{name.removeprefix('hpcflow-')}.log").read_text()
    assert "no scheduler has come up" in log
