"""`hpcflow status`: how a run stands now."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from hpcflow.batch.chain import standing
from hpcflow.batch.command import Patience
from hpcflow.batch.record import JobRecord, read_record
from hpcflow.batch.system import JobState
from hpcflow.clock import SystemClock
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.status import BatchJob, encode_status, status_of
from hpcflow.dashboards.terminal import batch_job_line, console_for, picture
from hpcflow.errors import BatchSystemError
from hpcflow.journal.directory import RunDirectory

_ONCE = Patience(attempts=1)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def status(directory: Path, *, as_json: bool) -> None:
    """Say how the run in DIR stands: batch job, tasks, slots, failures, and how to continue it.

    DIR may be live, dead, or a copy.
    """
    record = read_record(directory)
    job = None if record is None else _batch_job(record, directory)
    if job is not None and not as_json and not RunDirectory(directory).journal.is_file():
        click.echo(f"{directory} has no journal yet: batch job {batch_job_line(job)}")
        return
    now = status_of(RunSource.open(directory), now=SystemClock().now())
    now = msgspec.structs.replace(now, batch_job=job)
    if as_json:
        click.echo(encode_status(now))
    else:
        console_for(sys.stdout).print(picture(now))


def _batch_job(record: JobRecord, directory: Path) -> BatchJob:
    """Return what is known of a batch job; on a copy of the run elsewhere its state is not."""
    state: JobState | None
    try:
        job, state = standing(record.system_in(directory, patience=_ONCE), record, directory)
    except BatchSystemError:
        job, state = record.id, None
    to_come = record.chain[record.chain.index(job) + 1 :]
    return BatchJob(
        id=job,
        system=record.system,
        machine=record.machine,
        state=None if state is None else state.value,
        submitted=record.submitted.timestamp(),
        nodes=record.nodes,
        slots=record.slots,
        walltime_s=record.walltime_s,
        follow_ups=list(to_come) if state is not None and state.live else [],
    )
