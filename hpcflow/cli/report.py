"""`hpcflow report`: the whole run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.clock import SystemClock
from hpcflow.dashboards.report import write_report
from hpcflow.dashboards.source import RunSource
from hpcflow.journal.directory import RunDirectory


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write it.  [default: DIR/report.html]",
)
def report(directory: Path, *, output: Path | None) -> None:
    """Write a report of the run in DIR: one HTML file that opens without a network."""
    source = RunSource(RunDirectory.existing(directory))
    target = source.directory.report if output is None else output
    write_report(source, target, now=SystemClock().now())
    click.echo(str(target))
