"""How workers and driver find their scheduler: a file in the run directory."""

from __future__ import annotations

import os

import msgspec

from hpcflow.journal.directory import RunDirectory
from hpcflow.private import write_private


class SchedulerFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `scheduler.json` says."""

    address: str
    pid: int
    job: str | None
    """The batch job that the scheduler belongs to."""


def publish_scheduler(directory: RunDirectory, address: str, *, job: str | None) -> None:
    """Write where the scheduler listens, whole or not at all."""
    content = SchedulerFile(address=address, pid=os.getpid(), job=job)
    write_private(directory.scheduler_file, msgspec.json.encode(content))


def scheduler_address(directory: RunDirectory, *, job: str | None) -> str | None:
    """Return where the scheduler of batch job `job` listens; None until it does.

    A file that an earlier batch job left behind is not taken for this one's.
    """
    try:
        content = msgspec.json.decode(directory.scheduler_file.read_bytes(), type=SchedulerFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return content.address if content.job == job else None
