"""The batch jobs of a run: one submission at a time, each recorded."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from hpcflow.batch.chain import cancel_all, standing, submit_chain
from hpcflow.batch.listing import live_jobs
from hpcflow.batch.record import JobRecord, read_record, write_record
from hpcflow.batch.request import Request
from hpcflow.batch.walltime import show_walltime
from hpcflow.errors import BatchSystemError, JournalError, RequestError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import holder


def recorded_job(directory: Path) -> JobRecord:
    """Return the batch job of the run in a directory.

    Raises
    ------
    RequestError
        If none was submitted for it.
    """
    record = read_record(directory)
    if record is None:
        raise RequestError(
            f"cannot find a batch job of {str(directory)!r}: it has no job.toml. Name a run"
            " directory that `hpcflow submit` was given."
        )
    return record


def submit_recorded(run: RunDirectory, record: JobRecord, *, follow_ups: int) -> JobRecord:
    """Submit the script of a record with its follow-ups; leave no batch job that is not recorded.

    Returns the record with the ids of the batch jobs, as it is now in the run directory.

    Raises
    ------
    BatchSystemError
        If the batch system refuses one; then none is left.
    JournalError
        If the record cannot be written; then none is left either.
    """
    system = record.system_in(run.path)
    first, *others = jobs = submit_chain(system, Path(record.script), follow_ups=follow_ups)
    record = msgspec.structs.replace(record, id=first, follow_ups=others, over=False)
    try:
        write_record(run.path, record)
    except JournalError:
        cancel_all(system, jobs)
        raise
    return record


def announce(record: JobRecord, run: RunDirectory) -> None:
    """Print the id of a batch job that was just submitted, and say how to follow it."""
    click.echo(record.id)
    count = len(record.follow_ups)
    more = f", and up to {count} follow-up{'s' * (count != 1)}" if count else ""
    click.echo(
        f"{record.slots:,} slots for {show_walltime(record.walltime_s)}{more}."
        f" Follow it with: hpcflow logs {run.path} --follow",
        err=True,
    )


def check_place(run: RunDirectory) -> None:
    """Refuse to fill a directory that holds something else.

    Raises
    ------
    RequestError
        If it does.
    """
    if run.path.exists() and not run.path.is_dir():
        raise RequestError(
            f"cannot use {str(run.path)!r} as a run directory: it is a file. Choose another path."
        )
    if not run.path.is_dir() or run.lock.exists() or run.journal.exists():
        return
    other = next(run.path.iterdir(), None)
    if other is not None:
        raise RequestError(
            f"cannot use {str(run.path)!r} as a run directory: it holds {other.name!r} and no"
            " journal. Choose a new or an empty directory."
        )


@contextmanager
def sole_submission(run: RunDirectory, *, patient: bool = False) -> Iterator[None]:
    """Keep two submissions of one run apart, and mark the directory as that of a run.

    The kernel lets go when the process ends, so that nobody is locked out for ever.

    Parameters
    ----------
    run
        The run directory.
    patient
        Wait for another submission to end.

    Raises
    ------
    RequestError
        If another submission is at it.
    JournalError
        If the directory cannot be written.
    """
    try:
        run.lock.touch(mode=0o600)
        fd = os.open(run.path / "submit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"cannot write run directory {str(run.path)!r}: {error.strerror}. Choose a path you"
            " can write to."
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise RequestError(
            f"cannot submit run {str(run.path)!r}: another submission is at it. Wait for that to"
            " end."
        ) from None
    finally:
        os.close(fd)


def check_room(request: Request) -> None:
    """Refuse more batch jobs than the queue takes of one user at once.

    Where the batch system does not list them, the submission will show.

    Raises
    ------
    RequestError
        If there are too many.
    """
    machine, queue, wanted = request.machine, request.queue, 1 + request.follow_ups
    if queue.jobs is None or machine.script_system == "local":
        return
    by_name = {"slurm": (f"--{machine.queue_option}={queue.name}",), "lsf": ("-q", queue.name)}
    try:
        there = len(live_jobs(machine.script_system, only=by_name[machine.script_system]))
    except BatchSystemError:
        return
    if there + wanted > queue.jobs:
        raise RequestError(
            f"cannot submit {wanted} batch job{'s' * (wanted != 1)} to queue {queue.name} of"
            f" {machine.name}: it takes {queue.jobs:,} of one user at once, and {there:,} of yours"
            " wait or run there. Wait for some to end, lower --follow-ups, or name another queue."
        )


def check_idle(run: RunDirectory) -> None:
    """Refuse a second batch job or driver for the same run.

    Raises
    ------
    RequestError
        If there is one.
    """
    record = read_record(run.path)
    if record is not None:
        job, state = standing(record.system_in(run.path), record, run.path)
        if state.live:
            raise RequestError(
                f"cannot submit run {str(run.path)!r}: its batch job {job} is {state}. Wait for it,"
                f" or end it with `hpcflow cancel {run.path}`."
            )
    if (writer := holder(run)) is not None:
        raise RequestError(
            f"cannot submit run {str(run.path)!r}: process {writer.pid} on host {writer.host} is"
            " writing it. Wait for it to end, stop it, or use another run directory."
        )
