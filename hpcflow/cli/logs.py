"""`hpcflow logs`: what the batch job of a run printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from hpcflow.batch.record import JobRecord
from hpcflow.cli.cancel import recorded_job

_LOOK_S = 0.5
"""Between two looks into the log [s]."""
_ASK_S = 10.0
"""Between two questions to the batch system [s]; sites ask not to be asked more often."""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Go on printing until the batch job is over.")
def logs(directory: Path, *, follow: bool) -> None:
    """Print what the batch job of the run in DIR printed: its script and driver.

    Scheduler and workers have logs of their own, in DIR/logs.
    """
    record = recorded_job(directory)
    path = record.log_in(directory)
    if not follow:
        if not path.exists():
            state = record.system_in(directory).state(record.id)
            click.echo(f"batch job {record.id} is {state}, and has printed nothing", err=True)
            return
        click.echo(path.read_text(errors="replace"), nl=False)
        return
    for text in _followed(record, directory, path):
        click.echo(text, nl=False)


def _followed(record: JobRecord, directory: Path, path: Path) -> Iterator[bytes]:
    """Yield what is appended to a file, until the batch job is over and all is read."""
    position, asked, live = 0, float("-inf"), True
    every_s = _LOOK_S if record.system == "local" else _ASK_S
    while True:
        if live and time.monotonic() - asked >= every_s:
            state = record.system_in(directory).state(record.id)
            live, asked = state.live, time.monotonic()
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                while block := file.read(1 << 16):
                    position += len(block)
                    yield block
        if not live:
            return
        time.sleep(_LOOK_S)
