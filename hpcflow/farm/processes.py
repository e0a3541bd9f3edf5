"""The seam between a farm and the processes that it runs on, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from distributed import Client

from hpcflow.errors import FarmError
from hpcflow.farm.mail import Workload
from hpcflow.journal.directory import RunDirectory

Gone = Callable[[FarmError, int | None], None]
"""Told, from a thread, that a shard's scheduler is gone, or, with None, that the farm is broken."""


class Work(Protocol):
    """What the farm has to do, for processes that fit themselves to it. From any thread."""

    def workload(self) -> Workload | None:
        """Return what there is to do and who does nothing; None in a farm that ends or broke."""
        ...

    def release(self, worker: str) -> bool:
        """Let go of a worker's slots, and return True, unless one of them has a task."""
        ...


class Processes(Protocol):
    """A farm's schedulers and workers, wherever they run."""

    def connect(self) -> list[Client]:
        """Return a client of each shard's scheduler, in their order, once all are up."""
        ...

    def guard(self, gone: Gone, work: Work) -> None:
        """Watch over the processes from now on, and say what is gone for good."""
        ...

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name of those that the driver started."""
        ...

    def close(self) -> None:
        """End what the driver started."""
        ...


class Start(Protocol):
    """Starts the processes of a farm, or finds them."""

    def __call__(self, directory: RunDirectory, *, keep_logs: bool) -> Processes:
        """Return them; `keep_logs` says whether the farm keeps a run, and its logs in it."""
        ...
