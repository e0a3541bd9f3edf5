"""`hpcflow timings`: one row an attempt."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hpcflow.clock import SystemClock
from hpcflow.dashboards.output import replacing
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import holder
from hpcflow.journal.reader import read_journal
from hpcflow.timing.report import write_timings


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--csv",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write them; `-` is standard output.  [default: DIR/timings.csv]",
)
def timings(directory: Path, *, file: Path | None) -> None:
    """Write one row for each attempt of the run in DIR: when, where, and how it ended."""
    run = RunDirectory.existing(directory)
    now = None if holder(run) is None else SystemClock().now()
    events = read_journal(run.journal)
    if file == Path("-"):
        write_timings(events, sys.stdout, now=now)
        return
    target = run.timings if file is None else file
    with replacing(target) as out:
        count = write_timings(events, out, now=now)
    click.echo(f"{target}: {count:,} attempts")
