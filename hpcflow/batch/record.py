"""Which batch job runs a run: `job.toml` in its directory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from hpcflow.batch.command import Patience
from hpcflow.batch.machine import BatchSystemName
from hpcflow.batch.system import BatchSystem, system_named
from hpcflow.private import write_private
from hpcflow.settings import dump_toml, load_toml

_FILE = "job.toml"


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The batch job that was last submitted for a run, and its follow-ups."""

    system: BatchSystemName
    id: str
    """As the batch system names it."""
    follow_ups: list[str] = []
    """Ids of the batch jobs that continue the run, each after the one before."""
    over: bool = False
    """Whether a driver has ended by itself, so that no follow-up is needed."""
    machine: str
    """Name of the machine's file."""
    script: str
    submitted: datetime
    nodes: int
    slots: int
    walltime_s: int

    @property
    def chain(self) -> tuple[str, ...]:
        """Ids of the batch job and its follow-ups, in their order."""
        return (self.id, *self.follow_ups)

    def system_in(self, run: Path, *, patience: Patience | None = None) -> BatchSystem:
        """Return the batch system to ask about it."""
        return system_named(self.system, logs=run.absolute() / "logs", patience=patience)


def read_record(run: Path) -> JobRecord | None:
    """Return the last batch job of a run, or None.

    Raises
    ------
    RequestError
        If `job.toml` was altered so that it names none any more.
    """
    path = run / _FILE
    return load_toml(path, JobRecord) if path.exists() else None


def log_of(run: Path, job: str) -> Path:
    """Return the file that a batch job's own output goes to."""
    return run / "logs" / f"batch-{job.partition('.')[0]}.log"


def write_record(run: Path, record: JobRecord) -> None:
    """Write the last batch job of a run, in place of the one before.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    write_private(run / _FILE, dump_toml(msgspec.to_builtins(record, builtin_types=(datetime,))))
