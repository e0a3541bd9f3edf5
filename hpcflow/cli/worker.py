"""`hpcflow worker`: the worker step of a batch script."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hpcflow.batch.allocation import Allocation, read_allocation
from hpcflow.batch.devices import core_siblings, devices_here, locate, variable_here
from hpcflow.cli.steps import interface_option, run_option, shard_option
from hpcflow.core.resources import GPU, SlotResources, add_cpu_slots, share_cores, share_devices
from hpcflow.errors import RequestError
from hpcflow.journal.directory import RunDirectory

_PATIENCE_S = 10.0
"""An elastic farm is there before its workers: one that is not found by then has ended [s]."""


@click.command()
@run_option
@interface_option
@shard_option
@click.option(
    "--worker-per",
    type=click.Choice(["node", "slot"]),
    default="node",
    show_default=True,
    help="Whether this worker serves all slots of its node, or one of them.",
)
@click.option(
    "--slots-per-device", metavar="N", type=int, default=1, show_default=True, help="Slots a GPU."
)
@click.option(
    "--devices",
    metavar="NAME,...",
    help="GPUs to serve slots on, by number or UUID.  [default: those of the step launcher; where"
    " it says nothing, all that the node has]",
)
@click.option(
    "--cpu-slots",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Slots without a device next to those with one, a core each.",
)
@click.option(
    "--farm",
    metavar="ID",
    help="Join the elastic farm of this id alone; leave before the wall time is over.",
)
@click.option("--name", metavar="NAME", help="Name of the worker.  [default: its node's]")
@click.option(
    "--reserve-cores",
    metavar="N",
    type=int,
    default=0,
    show_default=True,
    help="Cores of the allocation's first node that are left to scheduler and driver.",
)
def worker(
    run: Path,
    *,
    interface: str | None,
    shard: int,
    worker_per: str,
    slots_per_device: int,
    devices: str | None,
    cpu_slots: int,
    farm: str | None,
    name: str | None,
    reserve_cores: int,
) -> None:
    """Be a worker of a farm in a batch job, until its scheduler or the job ends.

    Serves a slot on every GPU that the step launcher shows it, near which it pins the slot's cores,
    or on every core where there is none. `hpcflow submit` writes scripts that call this.

    \b
    Example:
      srun --ntasks-per-node=1 --gpus-per-node=8 hpcflow worker --run runs/first &
    """  # noqa: D301  click's \b keeps the lines as they are
    from hpcflow.farm.process import (  # imports Dask
        START_S,
        Place,
        WorkerRole,
        address_of,
        run_worker,
    )

    allocation = read_allocation()
    named = None if devices is None else tuple(filter(None, devices.split(",")))
    resources = _resources(allocation, named, slots_per_device, reserve_cores=reserve_cores)
    if cpu_slots:
        siblings = core_siblings({core for slot in resources for core in slot.cores})
        resources = add_cpu_slots(resources, cpu_slots, siblings=siblings)
    name = name or allocation.node_name
    if worker_per == "slot":
        rank = allocation.local_rank or 0
        name = f"{name}-{rank}"
        if len(resources) > 1:  # srun shows each all of its node; jsrun its own share alone
            resources = [_own(resources, rank, node=allocation.node_name)]
    for variable in ("HPCFLOW_RUN", "HPCFLOW_SLOTS", "HPCFLOW_SHARDS"):
        os.environ.pop(variable, None)  # a task that opens a farm opens one of its own
    place = Place(
        directory=RunDirectory(run.absolute()),
        host=address_of(interface),
        job=farm or allocation.job,
        batch=True,
        shard=shard,
        workers=allocation.workers,
        patience_s=_PATIENCE_S if farm else START_S,
    )
    run_worker(
        place,
        WorkerRole(
            name=name,
            resources=resources,
            node=allocation.node_name,
            scratch=allocation.scratch,
            ends_at=allocation.ends_at if farm else None,
        ),
    )


def _own(resources: list[SlotResources], rank: int, *, node: str) -> SlotResources:
    if rank >= len(resources):
        raise RequestError(
            f"cannot serve slot {rank} of node {node}: it has {len(resources)}. Start as many"
            " workers on a node as it has slots."
        )
    return resources[rank]


def _resources(
    allocation: Allocation,
    named: tuple[str, ...] | None,
    slots_per_device: int,
    *,
    reserve_cores: int,
) -> list[SlotResources]:
    cores = sorted(os.sched_getaffinity(0))
    if not allocation.node and len(cores) > reserve_cores:
        cores = cores[reserve_cores:]
    names = allocation.devices if named is None else named
    if names is None and (allocation.slots is None or GPU in allocation.slots):
        names = tuple(devices_here())
    if not names:
        return share_cores(cores, len(cores))
    variable = allocation.device_variable or variable_here()
    return share_devices(
        cores,
        locate(names, variable=variable),
        variable=variable,
        slots_per_device=slots_per_device,
        siblings=core_siblings(cores),
    )
