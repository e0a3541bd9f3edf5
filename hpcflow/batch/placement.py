"""Where the steps of a batch script run: schedulers, workers, driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpcflow.batch.direct import Direct
from hpcflow.batch.layout import Layout, Shard
from hpcflow.batch.request import Request
from hpcflow.batch.step import Step, StepLauncher
from hpcflow.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStep:
    """A step of workers, and whose they are."""

    step: Step
    shard: int
    slots: int
    """Slots that its workers serve."""


def scheduler_steps(layout: Layout) -> Iterator[Step]:
    """Yield the step of each scheduler, in the order of the shards; all are on the first node."""
    cores = layout.cores_of_scheduler
    for shard in range(1, layout.shards + 1):
        yield Step(
            name=_numbered("scheduler", shard), cores=max(1, cores), first_core=(shard - 1) * cores
        )


def driver_step(layout: Layout) -> Step:
    """Return the step of the driver, where it needs one."""
    return Step(name="driver", cores=max(1, layout.driver_cores), first_core=layout.scheduler_cores)


def worker_steps(request: Request, layout: Layout, launcher: StepLauncher) -> Iterator[WorkerStep]:
    """Yield the steps of the workers: one a shard, and one more where the first node differs.

    Raises
    ------
    RequestError
        If the launcher cannot start workers as they are asked for.
    """
    _check(request, launcher)
    for shard in layout.shares():
        first, nodes = shard.first_node, shard.nodes
        if first:
            yield _step(request, layout, shard, first_node=first, nodes=nodes)
        elif not layout.first_slots.total:
            yield _step(request, layout, shard, first_node=1, nodes=nodes - 1)
        elif not (launcher.exclusive or _fewer_processes(request, layout)):
            yield _step(request, layout, shard, first_node=0, nodes=nodes)
        else:
            yield _first_node(request, layout)
            if nodes > 1:
                yield _step(request, layout, shard, first_node=1, nodes=nodes - 1)


def _fewer_processes(request: Request, layout: Layout) -> bool:
    """Say whether the first node has fewer worker processes than the others."""
    return request.worker_per == "slot" and layout.first_slots != layout.slots_per_node


def _check(request: Request, launcher: StepLauncher) -> None:
    if request.worker_per == "node":
        return
    if request.slots_per_device > 1 and launcher.exclusive:
        raise RequestError(
            "cannot start a worker for each of several slots on one GPU with jsrun: a GPU belongs"
            " to one resource set. Ask for --worker-per node."
        )
    if isinstance(launcher, Direct):
        raise RequestError(
            f"cannot start a worker for each slot on {request.machine.name}: without a step"
            " launcher one worker serves all. Ask for --worker-per node."
        )


def _step(
    request: Request, layout: Layout, shard: Shard, *, first_node: int, nodes: int
) -> WorkerStep:
    each = layout.slots_per_node.total
    processes = each if request.worker_per == "slot" else 1
    short = 0 if first_node else each - layout.first_slots.total
    return WorkerStep(
        step=Step(
            name=_numbered("workers", shard.number),
            first_node=first_node,
            nodes=nodes,
            processes=processes,
            cores=layout.node_cores // processes,
            gpus=layout.node_gpus,
        ),
        shard=shard.number,
        slots=each * nodes - short,
    )


def _first_node(request: Request, layout: Layout) -> WorkerStep:
    """Return the step of the first node, which has fewer cores for slots than the others."""
    slots = layout.first_slots.total
    processes = slots if request.worker_per == "slot" else 1
    return WorkerStep(
        step=Step(
            name="workers-first-node",
            processes=processes,
            cores=layout.first_cores // processes,
            gpus=layout.node_gpus,
            first_core=layout.head_cores,
        ),
        shard=1,
        slots=slots,
    )


def _numbered(name: str, shard: int) -> str:
    return name if shard == 1 else f"{name}-{shard}"
