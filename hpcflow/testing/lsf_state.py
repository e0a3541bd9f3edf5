"""What the fake LSF programs share: their cluster, their jobs, and a lock."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import msgspec

from hpcflow.testing.lsf import STATE, Cluster


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one resource set holds: cores and GPUs of one host, counted from 0."""

    host: int
    cores: list[int]
    gpus: list[int]


class Job(msgspec.Struct, kw_only=True):
    """A batch job."""

    id: int
    name: str
    queue: str
    nodes: int
    state: str = "PEND"
    pid: int = 0
    steps: dict[int, list[Share]] = {}
    """What each running jsrun holds, by its process id."""


class State:
    """The directory in which the programs meet."""

    def __init__(self) -> None:
        if STATE not in os.environ:
            fail("LSF is down. Please wait ...", 255)
        self._path = Path(os.environ[STATE])
        self.cluster = msgspec.json.decode((self._path / "cluster.json").read_bytes(), type=Cluster)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the other programs out."""
        with (self._path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def turned_away(self) -> bool:
        """Count down the submissions that are turned away; say whether this one is."""
        path = self._path / "busy"
        left = int(path.read_text())
        path.write_text(str(max(0, left - 1)))
        return left > 0

    def new_job(self, *, name: str, queue: str, nodes: int) -> Job:
        """Return a batch job with the next number."""
        number = 1 + max((job.id for job in self.jobs()), default=1000)
        job = Job(id=number, name=name, queue=queue, nodes=nodes)
        self.keep(job)
        return job

    def jobs(self) -> list[Job]:
        """Return all batch jobs."""
        found = sorted((self._path / "jobs").glob("*.json"))
        return [msgspec.json.decode(path.read_bytes(), type=Job) for path in found]

    def job(self, number: str) -> Job | None:
        """Return a batch job, or None."""
        return next((job for job in self.jobs() if str(job.id) == number), None)

    def keep(self, job: Job) -> None:
        """Write a batch job, whole for those who read without the lock."""
        path = self._path / "jobs" / f"{job.id}.json"
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(job))
        temporary.replace(path)


def fail(message: str, code: int) -> NoReturn:
    """Print an error and end."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)
