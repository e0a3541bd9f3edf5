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
dashboard_option = click.option(
    "--dashboard",
    is_flag=True,
    help="Serve Dask's dashboards, to users of their own hosts; the scheduler's log says where.",
)
INSECURE = (
    "warning: the farm will be insecure: whoever can reach its scheduler's address can run code as"
    " you. Leave out --insecure for mutual TLS."
)
insecure_option = click.option(
    "--insecure", is_flag=True, help="Do without TLS: others on the network can run code as you."
)
shard_option = click.option(
    "--shard",
    metavar="K",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Which of the job's schedulers, from 1.",
)
