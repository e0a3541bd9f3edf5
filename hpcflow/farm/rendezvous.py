"""How workers and driver find their scheduler: a file in the run directory, one a shard."""

from __future__ import annotations

import msgspec

from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import SchedulerFile, read_scheduler_file
from hpcflow.private import write_private


def publish_scheduler(directory: RunDirectory, content: SchedulerFile, *, shard: int = 1) -> None:
    """Write where the scheduler of a shard listens, whole or not at all."""
    write_private(directory.scheduler_file(shard), msgspec.json.encode(content))


def find_scheduler(
    directory: RunDirectory, *, job: str | None, shard: int = 1
) -> SchedulerFile | None:
    """Return what the scheduler of a shard of batch job `job` says; None until it does.

    A file that an earlier batch job left behind is not taken for this one's.
    """
    content = read_scheduler_file(directory, shard=shard)
    return content if content is not None and content.job == job else None


def scheduler_address(directory: RunDirectory, *, job: str | None, shard: int = 1) -> str | None:
    """Return where the scheduler of a shard of batch job `job` listens; None until it does."""
    content = find_scheduler(directory, job=job, shard=shard)
    return None if content is None else content.address
