"""`hpcflow status`: how a run stands now."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hpcflow.clock import SystemClock
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.status import encode_status, status_of
from hpcflow.dashboards.terminal import console_for, picture


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def status(directory: Path, *, as_json: bool) -> None:
    """Say how the run in DIR stands: tasks, slots, failures, and how to continue it.

    DIR may be live, dead, or a copy.
    """
    now = status_of(RunSource.open(directory), now=SystemClock().now())
    if as_json:
        click.echo(encode_status(now))
    else:
        console_for(sys.stdout).print(picture(now))
