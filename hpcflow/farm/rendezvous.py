"""How workers and driver find their scheduler: a file in the run directory, one a shard."""

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


def publish_scheduler(
    directory: RunDirectory, address: str, *, job: str | None, shard: int = 1
) -> None:
    """Write where the scheduler of a shard listens, whole or not at all."""
    content = SchedulerFile(address=address, pid=os.getpid(), job=job)
    write_private(directory.scheduler_file(shard), msgspec.json.encode(content))


def scheduler_address(directory: RunDirectory, *, job: str | None, shard: int = 1) -> str | None:
    """Return where the scheduler of a shard of batch job `job` listens; None until it does.

    A file that an earlier batch job left behind is not taken for this one's.
    """
    file = directory.scheduler_file(shard)
    try:
        content = msgspec.json.decode(file.read_bytes(), type=SchedulerFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return content.address if content.job == job else None
