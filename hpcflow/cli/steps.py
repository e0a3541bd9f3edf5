"""What the steps of a batch script have in common."""

from __future__ import annotations

from pathlib import Path

import click

run_option = click.option(
    "--run",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Run directory of the batch script.",
)
interface_option = click.option(
    "--interface",
    metavar="NAME",
    help="Network interface to listen on, such as ib0.  [default: the host's address]",
)
shard_option = click.option(
    "--shard",
    metavar="K",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Which of the job's schedulers, from 1.",
)
