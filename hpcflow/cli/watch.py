"""`hpcflow watch`: follow a run in the terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from hpcflow.clock import SystemClock
from hpcflow.dashboards import watch as following
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.terminal import console_for


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def watch(directory: Path) -> None:
    """Follow the run in DIR until it ends, or until Ctrl-C, which leaves the run alone.

    Prints a line whenever something has changed where the output is no terminal.
    """
    source = RunSource.open(directory)
    following.watch(source, console_for(sys.stdout), clock=SystemClock(), wait=time.sleep)
