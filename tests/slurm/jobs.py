"""What the tests on a real Slurm share: commands as a user gives them, and waiting for a cause."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpcflow.core.event import AnyEvent, TasksSucceeded
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify

JOB_S = 50.0
"""Longest a batch job of these tests may take [s]."""
_UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}


def call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=JOB_S)


def hpcflow(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `hpcflow` as a user does."""
    return call(sys.executable, "-m", "hpcflow", *map(str, arguments))


@dataclass(frozen=True, slots=True)
class Job:
    """A batch job of the tests' Slurm, and its run."""

    id: str
    run: RunDirectory

    @property
    def described(self) -> dict[str, str]:
        """What Slurm says of it, such as JobState and ExitCode."""
        answer = call("scontrol", "show", "job", self.id, "--oneliner")
        assert answer.returncode == 0, answer.stderr
        return dict(word.split("=", 1) for word in answer.stdout.split() if "=" in word)

    @property
    def state(self) -> str:
        return self.described["JobState"]

    def wait(self) -> str:
        """Wait for its end, and for that of its processes; return how it ended."""
        self.until(lambda: self.state not in _UNFINISHED)
        self.until(lambda: not self.processes())
        return self.state

    def until(self, condition: Callable[[], object], *, within_s: float = JOB_S) -> None:
        """Wait for a condition; if it does not come true in time, fail with all logs."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                running = [" ".join(process.cmdline()) for process in self.processes()]
                raise AssertionError(
                    f"it has not come true in {within_s:g} s; job {self.id} is {self.state}"
                    f" {running}\n{self.logs()}"
                )
            time.sleep(0.1)

    def logs(self) -> str:
        """Return all that the job's script, driver and steps printed."""
        files = sorted(self.run.logs.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the job's processes that run, those with some words in their command alone."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                ours = (environment.get("SLURM_JOB_ID"), environment.get("SLURM_CONF"))
                if ours == (self.id, os.environ["SLURM_CONF"]) and (
                    process.status() != psutil.STATUS_ZOMBIE
                    and " ".join(words) in " ".join(process.cmdline())
                ):
                    found.append(process)
            except (psutil.Error, OSError):  # it has ended meanwhile
                continue
        return found

    def events(self) -> list[AnyEvent]:
        """Return the journal as it is by now."""
        return list(read_journal(self.run.journal)) if self.run.journal.exists() else []

    def values(self) -> Iterator[tuple[str, object]]:
        """Yield key and value of each task that is recorded as succeeded."""
        for event in self.events():
            if isinstance(event, TasksSucceeded):
                yield from zip(event.keys, event.values, strict=True)

    def assert_succeeded(self) -> None:
        """Wait for the end, and hold the job to all that a good end leaves and does not leave."""
        state = self.wait()
        assert (state, self.described["ExitCode"]) == ("COMPLETED", "0:0"), self.logs()
        verdict = verify(self.run)
        assert verdict.complete, verdict.problems
        assert list(self.run.security.iterdir()) == []
        assert not self.run.scheduler_file().exists()


def submit(driver: Path, run: Path, *options: str | Path, nodes: int = 1) -> Job:
    """Submit a driver to the tests' Slurm by `hpcflow submit`."""
    answer = hpcflow(
        *("submit", driver, "--machine", "test-slurm", "--walltime", "5m"),
        *("--nodes", str(nodes), "--run", run, *options),
    )
    assert answer.returncode == 0, answer.stderr
    return Job(answer.stdout.strip(), RunDirectory(run))
