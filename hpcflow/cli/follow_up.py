"""`hpcflow follow-up`: what a chain of batch jobs asks at the beginning and says at the end."""

from __future__ import annotations

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
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import last_event

NOT_NEEDED = 1


@click.command("follow-up")
@run_option
@click.option(
    "--ended",
    "code",
    metavar="CODE",
    type=int,
    help="Exit code with which the driver of this batch job has ended.",
)
def follow_up(run: Path, *, code: int | None) -> int:
    """Ask whether this batch job of a chain is needed; with --ended, end those that are not.

    Exits with 1 if the batch job is not needed: a driver before it has ended by itself, with its
    work done or for a fault of its own. A run that was stopped from outside goes on.

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
        stopped = _out_of_time(directory)
        if not run_goes_on(code, left_s=_left_s(allocation), out_of_time=stopped):
            _end_chain(directory, record, allocation.job)
    return 0


def _out_of_time(directory: RunDirectory) -> bool:
    last = last_event(directory.journal)
    return isinstance(last, SessionClosed) and last.reason == OUT_OF_TIME


def _left_s(allocation: Allocation) -> float | None:
    return None if allocation.ends_at is None else allocation.ends_at - time.time()


def _end_chain(directory: RunDirectory, record: JobRecord, job: str) -> None:
    write_record(directory.path, msgspec.structs.replace(record, over=True))
    cancel_followers(record.system_in(directory.path), record, job)
