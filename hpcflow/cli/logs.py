"""`hpcflow logs`: what the batch job of a run printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from hpcflow.batch.chain import standing
from hpcflow.batch.record import JobRecord, log_of
from hpcflow.batch.system import BatchSystem, JobState
from hpcflow.cli.jobs import recorded_job

_LOOK_S = 0.5
"""Between two looks into the log [s]."""
_ASK_S = 10.0
"""Between two questions to the batch system [s]; sites ask not to be asked more often."""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Go on printing until they are over.")
def logs(directory: Path, *, follow: bool) -> None:
    """Print what the batch job of the run in DIR and its follow-ups printed: script and driver.

    Scheduler and workers have logs of their own, in DIR/logs.
    """
    record = recorded_job(directory)
    system = record.system_in(directory)
    if follow:
        for text in _followed(record, system, directory):
            click.echo(text, nl=False)
        return
    logs_there = [log for job in record.chain if (log := log_of(directory, job)).exists()]
    if not logs_there:
        job, state = standing(system, record, directory)
        click.echo(f"batch job {job} is {state}, and has printed nothing", err=True)
    for log in logs_there:
        click.echo(log.read_text(errors="replace"), nl=False)


def _followed(record: JobRecord, system: BatchSystem, directory: Path) -> Iterator[bytes]:
    """Yield what batch jobs print, each in turn, until all are over."""
    every_s = _LOOK_S if record.system == "local" else _ASK_S
    for job in record.chain:
        yield from _printed(partial(system.state, job), log_of(directory, job), every_s=every_s)


def _printed(ask: Callable[[], JobState], path: Path, *, every_s: float) -> Iterator[bytes]:
    """Yield what is appended to a file, until the batch job is over and all is read."""
    position, asked, live = 0, float("-inf"), True
    while True:
        if live and time.monotonic() - asked >= every_s:
            live, asked = ask().live, time.monotonic()
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                while block := file.read(1 << 16):
                    position += len(block)
                    yield block
        if not live:
            return
        time.sleep(_LOOK_S)
