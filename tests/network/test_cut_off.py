"""A farm on three hosts, by the steps of a batch script, with a host that is cut off and healed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcflow.core.event import AnyEvent, AttemptLost, SlotJoined, SlotLost, TasksSucceeded
from hpcflow.farm.lanes import WORKER_PATIENCE_S
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from tests.network.hosts import INTERFACE, Network

_DRIVER = """
import socket, sys, time
from pathlib import Path
from hpcflow import Farm

def doze(_):
    time.sleep(0.3)
    return socket.gethostname()

def until_there_is(end):
    number = 0
    while not end.exists():
        yield number
        number += 1

if __name__ == "__main__":
    with Farm() as farm:
        print(sum(1 for _ in farm.map(doze, until_there_is(Path(sys.argv[1])))))
"""
_END_WITHIN_S = 30.0


class _Farm:
    """The processes of a batch script, each on its host."""

    def __init__(self, hosts: Network, directory: Path) -> None:
        self.hosts = hosts
        self.run = RunDirectory(directory / "run")
        self._logs = directory
        self.enough = directory / "enough"
        self._driver_file = directory / "driver.py"
        self._driver_file.write_text(_DRIVER)
        self.scheduler = self._step("head", "scheduler")
        self.workers = [self._step(host, "worker") for host in ("one", "two")]
        self.driver = hosts.start(
            "head",
            *(sys.executable, self._driver_file, self.enough),
            log=self._logs / "driver.log",
            environment={"HPCFLOW_RUN": str(self.run.path)},
        )

    def _step(self, host: str, command: str) -> subprocess.Popen[bytes]:
        return self.hosts.start(
            host,
            *(sys.executable, "-m", "hpcflow", command),
            *("--run", self.run.path, "--interface", INTERFACE),
            log=self._logs / f"{host}-{command}.log",
            environment={},
        )

    def close(self) -> None:
        for process in (self.driver, self.scheduler, *self.workers):
            process.terminate()
        for process in (self.driver, self.scheduler, *self.workers):
            process.wait(timeout=_END_WITHIN_S)

    def events(self) -> list[AnyEvent]:
        return list(read_journal(self.run.journal)) if self.run.journal.exists() else []

    def done_by(self, host: str) -> int:
        """Return how many outcomes of a host are recorded."""
        return sum(
            value == host
            for event in self.events()
            if isinstance(event, TasksSucceeded)
            for value in event.values
        )

    def joined(self, host: str) -> list[SlotJoined]:
        """Return the events of slots that joined on a host."""
        joined = [event for event in self.events() if isinstance(event, SlotJoined)]
        return [event for event in joined if event.host == host]

    def until(self, condition: Callable[[], object], *, within_s: float) -> None:
        """Wait for a condition; if it does not come true in time, fail with all logs."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert self.driver.poll() is None or self.enough.exists(), self.logs()
            assert time.monotonic() < deadline, f"not in {within_s:g} s\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        files = sorted(self._logs.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files)


@pytest.fixture
def farm(hosts: Network, tmp_path: Path) -> Iterator[_Farm]:
    with contextlib.closing(_Farm(hosts, tmp_path)) as started:
        yield started


def test_a_host_that_is_cut_off_loses_no_task_and_serves_again_when_it_is_healed(
    farm: _Farm,
) -> None:
    farm.until(lambda: farm.done_by("one") and farm.done_by("two"), within_s=40)
    slots = {event.slot for event in farm.joined("two")}

    farm.hosts.cut("two")
    farm.until(lambda: len(_given_back(farm)) == len(slots), within_s=2 * WORKER_PATIENCE_S)
    assert {event.slot for event in farm.events() if isinstance(event, SlotLost)} == slots
    farm.until(lambda: _given_back(farm) <= _outcomes(farm).keys(), within_s=20)

    farm.hosts.heal("two")
    farm.until(lambda: len(farm.joined("two")) == 2 * len(slots), within_s=60)
    again = farm.done_by("two")
    farm.until(lambda: farm.done_by("two") > again, within_s=20)

    farm.enough.touch()
    farm.until(lambda: farm.driver.poll() is not None, within_s=_END_WITHIN_S)
    assert farm.driver.returncode == 0, farm.logs()
    assert set(_outcomes(farm).values()) == {1}
    verified = subprocess.run(
        [sys.executable, "-m", "hpcflow", "verify", farm.run.path],
        capture_output=True,
        text=True,
        check=False,
        timeout=_END_WITHIN_S,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_workers_on_other_hosts_end_by_themselves_when_their_scheduler_is_gone(
    farm: _Farm,
) -> None:
    farm.until(lambda: farm.done_by("one") and farm.done_by("two"), within_s=40)
    farm.scheduler.kill()
    for worker in farm.workers:
        worker.wait(timeout=_END_WITHIN_S)
    assert farm.driver.wait(timeout=_END_WITHIN_S) != 0
    assert "the batch job's scheduler is gone" in farm.logs()


def _given_back(farm: _Farm) -> set[str]:
    """Return the tasks that ran on a slot when it was lost."""
    return {event.key for event in farm.events() if isinstance(event, AttemptLost)}


def _outcomes(farm: _Farm) -> Counter[str]:
    """Count the recorded outcomes of each task."""
    return Counter(
        key for event in farm.events() if isinstance(event, TasksSucceeded) for key in event.keys
    )
