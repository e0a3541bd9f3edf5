"""`hpcflow cancel`: end the batch job of a run."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.batch.chain import cancel_all, standing
from hpcflow.cli.jobs import recorded_job


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def cancel(directory: Path) -> None:
    """End the batch job that runs the run in DIR, or waits to, and its follow-ups.

    Nothing that is recorded is lost: `hpcflow resume DIR` continues it.
    """
    record = recorded_job(directory)
    system = record.system_in(directory)
    job, state = standing(system, record, directory)
    if not state.live:
        click.echo(f"batch job {job} is over: {state}")
        return
    jobs = list(record.chain[record.chain.index(job) :])
    cancel_all(system, jobs)
    count = len(jobs) - 1
    more = f" with its {count} follow-up{'s' * (count != 1)}" if count else ""
    click.echo(f"batch job {job}, which was {state}, is cancelled{more}")
