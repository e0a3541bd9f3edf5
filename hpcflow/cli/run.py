"""`hpcflow run`: run an ensemble that a TOML file describes."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.cli.driving import drive
from hpcflow.ensembles.configuration import load
from hpcflow.journal.directory import RunDirectory


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--run",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Run directory: made if need be; what is recorded there is not run again.",
)
@click.option(
    "--slots",
    metavar="N",
    type=click.IntRange(min=1),
    help="Tasks that run at a time.  [default: farm.slots of CONFIG, else the cores at hand]",
)
@click.option(
    "--reuse-changed",
    is_flag=True,
    help="Keep what is recorded although inputs, or hpcflow's own task functions, have changed.",
)
def run(config: Path, directory: Path, *, slots: int | None, reuse_changed: bool) -> int:
    """Run the ensemble that CONFIG, a TOML file, describes.

    The whole configuration is checked before anything starts. Each outcome is recorded in DIR as
    it comes, so a run that was stopped or killed goes on where it was: by the same command, or by
    `hpcflow resume DIR`. At the end a table says what became of the tasks and of the slots' time,
    and DIR/report.html shows it.

    \b
    Example:
      hpcflow run configs/runs/primes.toml --run runs/primes --slots 4
    """  # noqa: D301  click's \b keeps the lines as they are
    return drive(load(config), RunDirectory(directory), slots=slots, reuse_changed=reuse_changed)
