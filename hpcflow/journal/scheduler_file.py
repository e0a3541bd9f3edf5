"""What `scheduler.json` of a run directory says: where a scheduler is, and how to look at it."""

from __future__ import annotations

import msgspec

from hpcflow.journal.directory import RunDirectory


class SchedulerFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content."""

    address: str
    """With its protocol: `tls://` or, where that was asked for, `tcp://`."""
    pid: int
    job: str | None
    """The batch job that the scheduler belongs to."""
    versions: dict[str, str] | None = None
    """What it runs on; None for an hpcflow that did not say so yet."""
    node: str = ""
    """Name of its host."""
    dashboard: str | None = None
    """Where Dask's dashboard listens on that host; None where it is off."""
    tunnel: str | None = None
    """The command that brings the dashboard to the user's own machine."""


def read_scheduler_file(directory: RunDirectory, *, shard: int = 1) -> SchedulerFile | None:
    """Return what the file of a shard's scheduler says; None if there is none that can be read."""
    file = directory.scheduler_file(shard)
    try:
        return msgspec.json.decode(file.read_bytes(), type=SchedulerFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
