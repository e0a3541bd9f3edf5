"""`hpcflow scheduler`: the scheduler step of a batch script."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.batch.allocation import read_allocation
from hpcflow.cli.steps import (
    dashboard_option,
    insecure_option,
    interface_option,
    run_option,
    shard_option,
)
from hpcflow.journal.directory import RunDirectory


@click.command()
@run_option
@interface_option
@shard_option
@dashboard_option
@insecure_option
def scheduler(
    run: Path, *, interface: str | None, shard: int, dashboard: bool, insecure: bool
) -> None:
    """Be a scheduler of a farm in a batch job, until the job ends the step.

    Makes the certificates that workers and driver of the job show each other, and writes where it
    listens to DIR/scheduler.json. Those of further shards take the certificates of the first, and
    write DIR/scheduler-2.json and so on. `hpcflow submit` writes scripts that call this.

    \b
    Example:
      srun --nodes=1 --ntasks=1 hpcflow scheduler --run runs/first --interface ib0 &
    """  # noqa: D301  click's \b keeps the lines as they are
    from hpcflow.farm.process import Place, address_of, run_scheduler  # Dask takes a second

    directory = RunDirectory(run.absolute())
    directory.create()
    directory.lock.touch(mode=0o600)  # a driver uses a directory that is marked as that of a run
    allocation = read_allocation()
    run_scheduler(
        Place(
            directory=directory,
            host=address_of(interface),
            job=allocation.job,
            batch=True,
            shard=shard,
            workers=allocation.workers,
            dashboard=dashboard,
            insecure=insecure,
            login=allocation.login,
        )
    )
