"""`hpcflow follow-up`: what a chain of batch jobs asks at the beginning and says at the end."""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
import msgspec

from hpcflow.batch.allocation import Allocation, read_allocation
from hpcflow.batch.chain import cancel_followers, run_goes_on
from hpcflow.batch.record import JobRecord, read_record, write_record
from hpcflow.cli.jobs import sole_submission
from hpcflow.cli.steps import run_option
from hpcflow.core.event import OUT_OF_TIME, SessionClosed
from hpcflow.errors import FarmError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import last_event

NOT_NEEDED = 1
_NO_FARM = f"error: {FarmError.__name__}("
"""How a session's reason begins that its farm has ended: the scheduler died, or a node with it."""


@click.command("follow-up")
@run_option
@click.option(
    "--ended",
    "code",
    metavar="CODE",
    type=int,
    help="Exit code with which the driver of this batch job has ended.",
)
@click.option(
    "--lasted",
    "lasted_s",
    metavar="SECONDS",
    type=float,
    default=math.inf,
    help="How long ago the batch job began: what ended before was another one's.",
)
def follow_up(run: Path, *, code: int | None, lasted_s: float) -> int:
    """Ask whether this batch job of a chain is needed; with --ended, end those that are not.

    Exits with 1 if the batch job is not needed: a driver before it has ended by itself, with its
    work done or for a fault of its own. A run that was cut short, by the end of the wall time, a
    signal or the loss of its farm, goes on.

    \b
    Example:
      hpcflow follow-up --run runs/first
    """  # noqa: D301  click's \b keeps the lines as they are
    directory, allocation = RunDirectory(run.absolute()), read_allocation()
    with sole_submission(directory, patient=True):  # what submits us may still be writing
        record = read_record(directory.path)
        if record is None or allocation.job not in record.chain:
            return 0  # submitted by hand: it belongs to no chain
        if code is None:
            return NOT_NEEDED if record.over else 0
        cut_short = _cut_short(directory, since=time.time() - lasted_s)
        if not run_goes_on(code, left_s=_left_s(allocation), cut_short=cut_short):
            _end_chain(directory, record, allocation.job)
    return 0


def _cut_short(directory: RunDirectory, *, since: float) -> bool:
    """Say whether the last session ended since then, for want of wall time or of its farm."""
    last = last_event(directory.journal)
    if not isinstance(last, SessionClosed) or last.at < since:
        return False
    return last.reason == OUT_OF_TIME or last.reason.startswith(_NO_FARM)


def _left_s(allocation: Allocation) -> float | None:
    return None if allocation.ends_at is None else allocation.ends_at - time.time()


def _end_chain(directory: RunDirectory, record: JobRecord, job: str) -> None:
    write_record(directory.path, msgspec.structs.replace(record, over=True))
    cancel_followers(record.system_in(directory.path), record, job)
