"""`hpcflow cancel`: end the batch job of a run."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.batch.record import JobRecord, read_record
from hpcflow.errors import RequestError


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def cancel(directory: Path) -> None:
    """End the batch job that runs the run in DIR, or waits to.

    Nothing that is recorded is lost: `hpcflow submit` of the same run continues it.
    """
    record = recorded_job(directory)
    system = record.system_in(directory)
    state = system.state(record.id)
    if not state.live:
        click.echo(f"batch job {record.id} is over: {state}")
        return
    system.cancel(record.id)
    click.echo(f"batch job {record.id}, which was {state}, is cancelled")


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
