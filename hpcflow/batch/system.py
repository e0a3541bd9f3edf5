"""The seam to batch systems: submit, ask, cancel."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol, assert_never

from hpcflow.batch.command import Patience
from hpcflow.batch.machine import BatchSystemName


class JobState(StrEnum):
    """How a batch job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"
    """It is over, and the batch system no longer knows how it ended."""

    @property
    def live(self) -> bool:
        """Whether the batch job may still do something."""
        return self in {JobState.WAITING, JobState.RUNNING}


class BatchSystem(Protocol):
    """What hpcflow asks of a batch system. Every method raises BatchSystemError."""

    def submit(self, script: Path, *, after: str | None = None) -> str:
        """Submit a script, and return the id of the batch job.

        With `after` it begins once that batch job has ended, however it did.
        """
        ...

    def state(self, job: str) -> JobState:
        """Return how a batch job stands."""
        ...

    def cancel(self, job: str) -> None:
        """End a batch job. One that is over is left as it is."""
        ...


def system_named(
    name: BatchSystemName, *, logs: Path, patience: Patience | None = None
) -> BatchSystem:
    """Return the batch system called `name`.

    Parameters
    ----------
    name
        As a machine's file has it.
    logs
        Where the batch job's log is; the local one keeps exit codes there too.
    patience
        How often a command is tried again that fails for a while.
    """
    match name:
        case "local":
            from hpcflow.batch.local import Local

            return Local(logs)
        case "slurm":
            from hpcflow.batch.slurm import Slurm

            return Slurm(patience)
        case "lsf":
            from hpcflow.batch.lsf import Lsf

            return Lsf(patience)
        case _:
            assert_never(name)
