"""Who gets what of an allocation: a pure function of what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcflow.errors import RequestError

if TYPE_CHECKING:
    from hpcflow.batch.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Slots by pool."""

    gpu: int = 0
    """With a GPU."""
    cpu: int = 0
    """Without."""

    @property
    def total(self) -> int:
        """Slots of both."""
        return self.gpu + self.cpu

    def times(self, count: int) -> Pools:
        """Return the slots of `count` nodes like this one."""
        return Pools(gpu=self.gpu * count, cpu=self.cpu * count)

    def plus(self, other: Pools) -> Pools:
        """Return both together."""
        return Pools(gpu=self.gpu + other.gpu, cpu=self.cpu + other.cpu)

    def __str__(self) -> str:
        """Return them as a batch script tells its driver, such as `gpu:8,cpu:4`."""
        counts = (("gpu", self.gpu), ("cpu", self.cpu))
        return ",".join(f"{pool}:{count}" for pool, count in counts if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The share of one of the farm's schedulers: neighbouring nodes."""

    number: int
    """From 1."""
    first_node: int
    """Position in the allocation of its first node."""
    nodes: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who gets what of an allocation."""

    nodes: int
    shards: int
    """Schedulers; all are on the first node."""
    scheduler_cores: int
    """Cores of the first node that the schedulers have, all together."""
    driver_cores: int
    """Cores of the first node that the driver has."""
    slots_per_node: Pools
    first_slots: Pools
    """Slots of the first node: as many as of the others, or fewer, or none."""
    first_cores: int
    """Cores of the first node that are left for slots."""
    node_cores: int
    """Usable cores of each node."""
    node_gpus: int

    @property
    def slots(self) -> Pools:
        """Slots of all nodes."""
        return self.first_slots.plus(self.slots_per_node.times(self.nodes - 1))

    @property
    def head_cores(self) -> int:
        """Cores of the first node that serve no slot."""
        return self.scheduler_cores + self.driver_cores

    @property
    def cores_of_scheduler(self) -> int:
        """Cores of each scheduler."""
        return self.scheduler_cores // self.shards

    def shares(self) -> Iterator[Shard]:
        """Yield what each scheduler has: the nodes, shared evenly."""
        edges = [self.nodes * number // self.shards for number in range(self.shards + 1)]
        for number in range(1, self.shards + 1):
            first, nodes = edges[number - 1], edges[number] - edges[number - 1]
            slots = self.slots_per_node.times(nodes)
            if not first:
                slots = self.first_slots.plus(self.slots_per_node.times(nodes - 1))
            yield Shard(number=number, first_node=first, nodes=nodes, slots=slots.total)


def layout_of(request: Request) -> Layout:
    """Return how the allocation of a request is shared out.

    A node serves as many slots as it has GPUs (times `slots_per_device`) and, next to these, the
    CPU slots that are asked for; without GPUs it serves as many as it has cores. Schedulers and
    driver take their cores from the first node; where they take all of it, that node serves none.

    Raises
    ------
    RequestError
        If a slot would have no core, a shard no slot, or none is left.
    """
    machine, cores = request.machine, request.machine.nodes.usable_cores
    scheduler, driver = _head_cores(request)
    left = cores - scheduler - driver
    if min(scheduler, driver, left) < 0:
        raise RequestError(
            f"cannot give {scheduler} cores to the scheduler and {driver} to the driver: a node of"
            f" {machine.name} has {cores}. Give them fewer."
        )
    slots = _slots_of_node(request)
    first = slots if machine.nodes.gpus else Pools(cpu=left)
    if slots.total > cores or (machine.nodes.gpus and 0 < left < slots.total):
        raise RequestError(
            f"cannot place {slots.total} slots on a node of {machine.name} with"
            f" {min(cores, left)} cores: each needs one ({scheduler} are the scheduler's and"
            f" {driver} the driver's). Lower --slots-per-device, --cpu-slots, --scheduler-cores or"
            " --driver-cores."
        )
    layout = Layout(
        nodes=request.nodes,
        shards=request.shards,
        scheduler_cores=scheduler,
        driver_cores=driver,
        slots_per_node=slots,
        first_slots=first if left else Pools(),
        first_cores=left,
        node_cores=cores,
        node_gpus=machine.nodes.gpus,
    )
    _check_served(layout, machine.name)
    return layout


def _check_served(layout: Layout, machine: str) -> None:
    """Refuse an allocation or a shard without slots."""
    if not layout.slots.total:
        raise RequestError(
            f"cannot serve any slot on {layout.nodes} node of {machine}: scheduler and driver"
            f" take all {layout.node_cores} cores of the first. Ask for more nodes, or lower"
            " --scheduler-cores."
        )
    if not all(shard.slots for shard in layout.shares()):
        raise RequestError(
            f"cannot share {layout.nodes} nodes of {machine} among {layout.shards} shards:"
            f" scheduler and driver take all {layout.node_cores} cores of the first, and a shard"
            " would have no slot. Lower --shards or --scheduler-cores, or ask for more nodes."
        )


def _head_cores(request: Request) -> tuple[int, int]:
    """Return the cores of the schedulers, at least one for each, and of the driver.

    A machine may give them none of their own: then they share the cores of the slots. Not with
    jsrun, where a step has its own.
    """
    if not 1 <= request.shards <= request.nodes:
        raise RequestError(
            f"cannot share {request.nodes} nodes among {request.shards} shards: each has at least 1"
            f" node. Ask for 1 to {request.nodes} shards."
        )
    head = request.machine.head
    large = head.large_from_nodes is not None and request.nodes >= head.large_from_nodes
    usual = head.large_scheduler_cores if large else head.scheduler_cores
    scheduler = usual if request.scheduler_cores is None else request.scheduler_cores
    driver = head.driver_cores if request.driver_cores is None else request.driver_cores
    owns = request.machine.step_launcher == "jsrun"
    if scheduler > 0 or (owns and scheduler == 0):
        scheduler = max(scheduler, request.shards)
    return scheduler, 1 if owns and driver == 0 else driver


def _slots_of_node(request: Request) -> Pools:
    nodes, name = request.machine.nodes, request.machine.name
    if request.slots_per_device < 1 or (request.slots_per_device > 1 and not nodes.gpus):
        raise RequestError(
            f"cannot place {request.slots_per_device} slots on each GPU of {name}: it has"
            f" {nodes.gpus} GPUs a node. Leave --slots-per-device at 1 or raise it on a machine"
            " with GPUs."
        )
    if request.cpu_slots < 0 or (request.cpu_slots and not nodes.gpus):
        raise RequestError(
            f"cannot place {request.cpu_slots} CPU slots next to the GPU slots of a node of {name}:"
            f" it has {nodes.gpus} GPUs. Leave --cpu-slots at 0; without GPUs every core serves a"
            " slot."
        )
    if request.cpu_slots and request.worker_per == "slot":
        raise RequestError(
            f"cannot place {request.cpu_slots} CPU slots next to GPU slots with a worker for each:"
            " one worker of a node serves both. Ask for --worker-per node."
        )
    if not nodes.gpus:
        return Pools(cpu=nodes.usable_cores)
    return Pools(gpu=nodes.gpus * request.slots_per_device, cpu=request.cpu_slots)
