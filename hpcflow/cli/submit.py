"""`hpcflow submit`: put the farm on an allocation."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from hpcflow.batch.layout import layout_of
from hpcflow.batch.machine import Machine, load_machine
from hpcflow.batch.record import JobRecord
from hpcflow.batch.request import Request, WorkerPer
from hpcflow.batch.script import SCRIPT, render
from hpcflow.batch.walltime import parse_walltime
from hpcflow.cli.jobs import (
    announce,
    check_idle,
    check_place,
    check_room,
    sole_submission,
    submit_recorded,
)
from hpcflow.cli.steps import INSECURE, dashboard_option, insecure_option
from hpcflow.journal.directory import RunDirectory
from hpcflow.private import write_private


@click.command()
@click.argument("driver", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENT...]")
@click.option(
    "--machine",
    "machine_name",
    metavar="NAME",
    required=True,
    help="A machine that `hpcflow machines` lists, or the path of a TOML file.",
)
@click.option(
    "--machines",
    "machines_in",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where named machines are.  [default: those that come with hpcflow]",
)
@click.option("--nodes", metavar="N", type=int, default=1, show_default=True, help="Nodes.")
@click.option("--walltime", metavar="TIME", required=True, help="Such as 2h30m, 90m or 2:30:00.")
@click.option(
    "--run",
    "run_path",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Run directory: made if need be; what is recorded there is not run again."
    "  [default: runs/, and DRIVER's name without its ending]",
)
@click.option("--account", metavar="NAME", help="Whom to charge.  [default: as the machine says]")
@click.option("--queue", metavar="NAME", help="Queue.  [default: the machine's first]")
@click.option("--name", metavar="NAME", help="Name of the batch job.  [default: DRIVER's name]")
@click.option(
    "--worker-per",
    type=click.Choice(["node", "slot"]),
    default="node",
    show_default=True,
    help="One worker process for all slots of a node, or one for each slot.",
)
@click.option(
    "--slots-per-device",
    metavar="N",
    type=int,
    default=1,
    show_default=True,
    help="Slots that share one GPU.",
)
@click.option(
    "--cpu-slots",
    metavar="N",
    type=int,
    default=0,
    show_default=True,
    help="Slots without a GPU on each node, next to those with one; each takes a core.",
)
@click.option(
    "--shards",
    metavar="K",
    type=int,
    default=1,
    show_default=True,
    help="Schedulers on the first node, each with its share of the nodes.",
)
@click.option(
    "--follow-ups",
    metavar="K",
    type=int,
    default=0,
    show_default=True,
    help="Most further batch jobs that continue the run while it is unfinished.",
)
@click.option(
    "--scheduler-cores",
    metavar="N",
    type=int,
    help="Cores of the first node for the schedulers in all.  [default: as the machine says]",
)
@click.option(
    "--driver-cores",
    metavar="N",
    type=int,
    help="Cores of the first node for the driver.  [default: as the machine says]",
)
@dashboard_option
@insecure_option
@click.option("--dry-run", is_flag=True, help="Print the batch script; write and submit nothing.")
def submit(
    driver: Path,
    *,
    arguments: tuple[str, ...],
    machine_name: str,
    machines_in: Path | None,
    nodes: int,
    walltime: str,
    run_path: Path | None,
    account: str | None,
    queue: str | None,
    name: str | None,
    worker_per: WorkerPer,
    slots_per_device: int,
    cpu_slots: int,
    shards: int,
    follow_ups: int,
    scheduler_cores: int | None,
    driver_cores: int | None,
    dashboard: bool,
    insecure: bool,
    dry_run: bool,
) -> None:
    """Run DRIVER on an allocation: a Python driver (.py) or a run configuration (.toml).

    Everything is checked against the machine first. Then a plain batch script is written to
    DIR/batch.sh and submitted, and the id of the batch job is printed. The script starts a
    scheduler and a worker on each node, waits for the slots, and runs DRIVER here, in the directory
    where you are, with the Python that runs this command. A run that the wall time cuts short is
    continued by `hpcflow resume DIR`, or with --follow-ups by itself.

    \b
    Example:
      hpcflow submit driver.py --machine frontier --nodes 64 --walltime 2h --account abc1
      hpcflow submit configs/runs/primes.toml --machine laptop --walltime 10m
    """  # noqa: D301  click's \b keeps the lines as they are
    run = RunDirectory(Path("runs") / driver.stem if run_path is None else run_path)
    request = Request(
        driver=driver.absolute(),
        arguments=arguments,
        run=Path(os.path.abspath(run.path)),  # noqa: PTH100  no ".." in the script, links as they are
        directory=Path.cwd(),
        programs=Path(sys.executable).parent,
        machine=_resolved(load_machine(machine_name, directory=machines_in)),
        nodes=nodes,
        walltime_s=parse_walltime(walltime),
        account=account,
        queue_name=queue,
        name=_job_name(driver) if name is None else name,
        worker_per=worker_per,
        slots_per_device=slots_per_device,
        cpu_slots=cpu_slots,
        shards=shards,
        follow_ups=follow_ups,
        scheduler_cores=scheduler_cores,
        driver_cores=driver_cores,
        dashboard=dashboard,
        insecure=insecure,
    )
    request.check()
    script = render(request)
    if dry_run:
        click.echo(script, nl=False)
        return
    if insecure:
        click.echo(INSECURE, err=True)
    record = _submit(request, script, run)
    announce(record, run)


def _submit(request: Request, script: str, run: RunDirectory) -> JobRecord:
    """Write the script, submit it, and record the batch job."""
    check_place(run)
    run.create()
    with sole_submission(run):
        check_idle(run)
        check_room(request)
        write_private(run.path / SCRIPT, script, mode=0o700)
        record = JobRecord(
            system=request.machine.script_system,
            id="",
            machine=request.machine.name,
            script=str(request.run / SCRIPT),
            submitted=datetime.now(UTC),
            nodes=request.nodes,
            slots=layout_of(request).slots.total,
            walltime_s=request.walltime_s,
        )
        return submit_recorded(run, record, follow_ups=request.follow_ups)


def _resolved(machine: Machine) -> Machine:
    """Fill in the cores of the machine at hand where its file leaves them out."""
    if machine.nodes.cores is not None:
        return machine
    at_hand = len(os.sched_getaffinity(0))
    return msgspec.structs.replace(
        machine, nodes=msgspec.structs.replace(machine.nodes, cores=at_hand)
    )


def _job_name(driver: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "-", driver.stem).lstrip("-.") or "hpcflow"
