"""`hpcflow resume`: continue a run where it stopped."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from hpcflow.batch.chain import standing
from hpcflow.batch.record import JobRecord, read_record
from hpcflow.batch.script import SCRIPT
from hpcflow.batch.system import JobState
from hpcflow.cli.driving import drive
from hpcflow.cli.jobs import announce, check_idle, sole_submission, submit_recorded
from hpcflow.cli.options import kept_options
from hpcflow.ensembles.configuration import from_description
from hpcflow.errors import RequestError
from hpcflow.farm.run import read_run_toml
from hpcflow.journal.directory import RunDirectory


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--here", is_flag=True, help="Continue on this machine, although a batch job ran it before."
)
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
def resume(directory: Path, *, here: bool, slots: int | None, reuse_changed: bool) -> int:
    """Continue the run in DIR where it stopped or was killed.

    What is recorded is kept, failures included; what is left runs, as DIR/run.toml describes it.
    A run that a Python driver made is continued by running that driver again.

    A run that `hpcflow submit` put on an allocation is continued by a new batch job, with
    DIR/batch.sh as it is now and as many follow-ups as before.

    \b
    Example:
      hpcflow resume runs/primes
    """  # noqa: D301  click's \b keeps the lines as they are
    record = None if here else read_record(directory)
    if record is not None:
        if slots is not None or reuse_changed:
            raise RequestError(
                f"cannot resume {str(directory)!r} by a batch job with --slots or --reuse-changed:"
                " its script says what it runs. Edit batch.sh there, or add --here."
            )
        return _submit_again(RunDirectory(directory), record)
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


def _submit_again(run: RunDirectory, before: JobRecord) -> int:
    """Continue a run by its batch script, unless that has ended well."""
    with sole_submission(run):
        check_idle(run)
        job, state = standing(before.system_in(run.path), before, run.path)
        if state is JobState.SUCCEEDED:
            click.echo(f"nothing to resume: the driver of batch job {job} has ended well")
            return 0
        _check_script(run, before)
        again = msgspec.structs.replace(before, submitted=datetime.now(UTC))
        record = submit_recorded(run, again, follow_ups=len(before.follow_ups))
    announce(record, run)
    return 0


def _check_script(run: RunDirectory, before: JobRecord) -> None:
    """Refuse a script that is gone, or that names the place where the run was before."""
    script, here = Path(before.script), run.path / SCRIPT
    if not here.exists():
        rule = f"there is no {SCRIPT} in it"
    elif not script.exists() or not script.samefile(here):
        rule = f"its {SCRIPT} was written for {str(script.parent)!r}"
    else:
        return
    raise RequestError(
        f"cannot resume {str(run.path)!r} by a batch job: {rule}. Use `hpcflow submit` with its"
        " driver."
    )


def _driver_needed(directory: Path, asked: Mapping[str, Any]) -> RequestError:
    again = ""
    if "command" in asked and "directory" in asked:
        command = shlex.join(["python", *asked["command"]])
        again = f", as from {asked['directory']!r} by `{command}`"
    return RequestError(
        f"cannot resume {str(directory)!r}: a Python driver made it, and only that knows what is"
        f" left. Run the driver again{again}."
    )
