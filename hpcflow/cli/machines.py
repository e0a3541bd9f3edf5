"""`hpcflow machines`: which machines there are, and what one is like."""

from __future__ import annotations

from pathlib import Path

import click

from hpcflow.batch.machine import Limit, Machine, known_machines, load_machine, machine_path
from hpcflow.cli.closing import table


@click.group(invoke_without_command=True)
@click.option(
    "--machines",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where they are.  [default: those that come with hpcflow]",
)
@click.pass_context
def machines(context: click.Context, *, directory: Path | None) -> None:
    """List the machines that `hpcflow submit` knows, or explain one.

    A machine is a TOML file. To change one, copy its file, edit the copy, and give its path in
    place of a name.

    \b
    Example:
      hpcflow machines
      hpcflow machines show summit
    """  # noqa: D301  click's \b keeps the lines as they are
    context.obj = directory
    if context.invoked_subcommand is None:
        names = known_machines(directory)
        width = max(map(len, names), default=0)
        for name in names:
            click.echo(f"{name:{width}}  {load_machine(name, directory=directory).description}")


@machines.command(short_help="Explain one machine.")
@click.argument("name")
@click.pass_obj
def show(directory: Path | None, name: str) -> None:
    """Explain machine NAME: a name that `hpcflow machines` lists, or the path of a TOML file."""
    machine = load_machine(name, directory=directory)
    click.echo(table(_rows(machine, machine_path(name, directory=directory))))


def _rows(machine: Machine, path: Path) -> list[tuple[str, str]]:
    nodes, head = machine.nodes, machine.head
    cores = "those at hand" if nodes.cores is None else f"{nodes.cores}"
    if nodes.system_cores:
        cores += f", of which {nodes.system_cores} are kept back for the system"
    gpus = f"{nodes.gpus} ({nodes.gpu_kind or 'kind not said'})" if nodes.gpus else "none"
    scheduler = f"{head.scheduler_cores} cores of the first node"
    if head.large_from_nodes is not None:
        scheduler += f", {head.large_scheduler_cores} from {head.large_from_nodes:,} nodes on"
    rows = [
        ("machine", f"{machine.name}: {machine.description}"),
        ("batch system", f"{machine.batch_system}, steps by {machine.step_launcher}"),
        ("nodes", f"{nodes.count:,}"),
        ("cores of a node", cores),
        ("GPUs of a node", gpus),
        ("memory of a node", f"{nodes.memory_gib:g} GiB" if nodes.memory_gib else "not said"),
        ("scheduler", scheduler),
        ("driver", f"{head.driver_cores} cores of the first node"),
        ("interface", machine.interface or "the system's choice"),
        ("scratch", machine.scratch or "the system's choice"),
        ("account", _account(machine)),
    ]
    for number, queue in enumerate(machine.queues):
        jobs = "" if queue.jobs is None else f"; {queue.jobs:,} batch jobs a user"
        limits = ", ".join(map(_limit, queue.limits))
        rows.append((f"queue {queue.name}", f"{'default; ' * (not number)}{limits}{jobs}"))
    rows += [("option", option) for option in machine.batch_options]
    rows += [("set-up", line) for line in machine.setup]
    return [*rows, ("file", str(path))]


def _account(machine: Machine) -> str:
    if machine.account:
        return machine.account
    return "name it with --account" if machine.account_required else "not needed"


def _limit(limit: Limit) -> str:
    nodes = "1 node" if limit.nodes == 1 else f"{limit.nodes:,} nodes"
    return f"{limit.walltime} up to {nodes}"
