"""`hpcflow resume`: continue a run where it stopped."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from hpcflow.cli.driving import drive
from hpcflow.cli.options import kept_options
from hpcflow.ensembles.configuration import from_description
from hpcflow.errors import RequestError
from hpcflow.farm.run import read_run_toml
from hpcflow.journal.directory import RunDirectory


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--slots",
    metavar="N",
    type=click.IntRange(min=1),
    help="Tasks that run at a time.  [default: as the run was configured]",
)
@click.option(
    "--reuse-changed",
    is_flag=True,
    help="Keep what is recorded although inputs, or hpcflow's own task functions, have changed.",
)
def resume(directory: Path, *, slots: int | None, reuse_changed: bool) -> int:
    """Continue the run in DIR where it stopped or was killed.

    What is recorded is kept, failures included; what is left runs, as DIR/run.toml describes it.
    A run that a Python driver made is continued by running that driver again.

    \b
    Example:
      hpcflow resume runs/primes
    """  # noqa: D301  click's \b keeps the lines as they are
    run = RunDirectory.existing(directory)
    asked = read_run_toml(run)
    if "ensemble" not in asked:
        raise _driver_needed(directory, asked.get("run", {}))
    configuration = from_description(
        asked["ensemble"],
        # The run has its seed already, in its journal.
        msgspec.structs.replace(kept_options(run), seed=None),
        name=f"{run.run_toml}, table 'ensemble'",
    )
    return drive(configuration, run, slots=slots, reuse_changed=reuse_changed)


def _driver_needed(directory: Path, asked: Mapping[str, Any]) -> RequestError:
    again = ""
    if "command" in asked and "directory" in asked:
        command = shlex.join(["python", *asked["command"]])
        again = f", as from {asked['directory']!r} by `{command}`"
    return RequestError(
        f"cannot resume {str(directory)!r}: a Python driver made it, and only that knows what is"
        f" left. Run the driver again{again}."
    )
