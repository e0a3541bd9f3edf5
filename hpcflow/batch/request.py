"""What is asked of a machine, checked against it before anything is submitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hpcflow.batch.machine import Machine, Queue
from hpcflow.batch.text import check_directive_path, check_line, check_word
from hpcflow.batch.walltime import show_walltime
from hpcflow.errors import RequestError

WorkerPer = Literal["node", "slot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One batch job: a driver, where it runs, and for how long."""

    driver: Path
    """A Python driver (`.py`) or a run configuration (`.toml`); absolute."""
    arguments: tuple[str, ...] = ()
    """Arguments of the driver, or options of `hpcflow run`."""
    run: Path
    """Run directory; absolute."""
    directory: Path
    """Where the driver runs; absolute."""
    programs: Path
    """Directory of the `python` and `hpcflow` to use; absolute."""
    machine: Machine
    nodes: int = 1
    walltime_s: int
    """Wall time to ask for [s]."""
    account: str | None = None
    queue_name: str | None = None
    """The machine's first queue if None."""
    name: str = "hpcflow"
    """Name of the batch job."""
    worker_per: WorkerPer = "node"
    """One worker process for all slots of a node, or one for each slot."""
    slots_per_device: int = 1
    """Slots that share one GPU."""
    scheduler_cores: int | None = None
    """Cores of the first node for the scheduler; as the machine says if None."""
    driver_cores: int | None = None
    """Cores of the first node for the driver; as the machine says if None."""

    @property
    def queue(self) -> Queue:
        """The queue that is asked."""
        return self.machine.queue_named(self.queue_name)

    @property
    def charged(self) -> str | None:
        """The account that is charged."""
        return self.account or self.machine.account

    def check(self) -> None:
        """Refuse what the machine cannot give and what cannot stand in a script.

        Raises
        ------
        RequestError
            At the first fault.
        """
        self._check_texts()
        if self.driver.suffix not in {".py", ".toml"}:
            raise RequestError(
                f"cannot submit {str(self.driver)!r}: it is neither a Python driver (.py) nor a run"
                " configuration (.toml). Name one of these."
            )
        if not self.driver.is_file():
            raise RequestError(
                f"cannot submit {str(self.driver)!r}: there is no such file. Correct the path."
            )
        self._check_size()
        if self.machine.account_required and self.charged is None:
            raise RequestError(
                f"cannot submit to {self.machine.name} without an account: every batch job there is"
                " charged to one. Name it with --account."
            )
        layout_of(self)

    def _check_texts(self) -> None:
        check_word(self.name, what="the name of a batch job")
        if self.charged is not None:
            check_word(self.charged, what="an account")
        if self.queue_name is not None:
            check_line(self.queue_name, what="a queue")
        check_directive_path(str(self.run), what="a run directory")
        for path in (self.driver, self.directory, self.programs):
            check_line(str(path), what="a path")
        for argument in self.arguments:
            check_line(argument, what="an argument of the driver")

    def _check_size(self) -> None:
        machine, queue = self.machine, self.queue
        count = machine.nodes.count
        if not 1 <= self.nodes <= count:
            raise RequestError(
                f"cannot ask for {self.nodes} nodes of {machine.name}: it has {count}. Ask for 1"
                f" to {count}."
            )
        limit = next((limit for limit in queue.limits if self.nodes <= limit.nodes), None)
        if limit is None:
            raise RequestError(
                f"cannot ask for {self.nodes} nodes in queue {queue.name} of {machine.name}: it"
                f" gives {queue.limits[-1].nodes} at most. Ask for fewer, or name another queue."
            )
        if not 1 <= self.walltime_s <= limit.walltime_s:
            raise RequestError(
                f"cannot ask for {show_walltime(self.walltime_s)} on {self.nodes} nodes in queue"
                f" {queue.name} of {machine.name}: it gives {limit.walltime} at most to jobs of up"
                f" to {limit.nodes} nodes. Shorten --walltime; what is left runs when you submit"
                " the same run again."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who gets what of an allocation."""

    nodes: int
    scheduler_cores: int
    """Cores of the first node that the scheduler has."""
    driver_cores: int
    """Cores of the first node that the driver has."""
    slots_per_node: int
    first_slots: int
    """Slots of the first node: as many as of the others, or fewer, or none."""
    first_cores: int
    """Cores of the first node that are left for slots."""
    node_cores: int
    """Usable cores of each node."""
    node_gpus: int

    slots: int = field(init=False)
    """Slots in all."""

    def __post_init__(self) -> None:
        slots = self.first_slots + (self.nodes - 1) * self.slots_per_node
        object.__setattr__(self, "slots", slots)

    @property
    def head_cores(self) -> int:
        """Cores of the first node that serve no slot."""
        return self.scheduler_cores + self.driver_cores


def layout_of(request: Request) -> Layout:
    """Return how the allocation of a request is shared out.

    A node serves as many slots as it has GPUs (times `slots_per_device`) or, without GPUs, as it
    has cores. Scheduler and driver take theirs from the first node; where they take all of it,
    that node serves no slots.

    Raises
    ------
    RequestError
        If a slot would have no core, or none is left.
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
    first = slots if machine.nodes.gpus else left
    if slots > cores or (machine.nodes.gpus and 0 < left < slots):
        raise RequestError(
            f"cannot place {slots} slots on a node of {machine.name} with {min(cores, left)} cores:"
            f" each needs one ({scheduler} are the scheduler's and {driver} the driver's). Lower"
            " --slots-per-device, --scheduler-cores or --driver-cores."
        )
    layout = Layout(
        nodes=request.nodes,
        scheduler_cores=scheduler,
        driver_cores=driver,
        slots_per_node=slots,
        first_slots=first if left else 0,
        first_cores=left,
        node_cores=cores,
        node_gpus=machine.nodes.gpus,
    )
    if not layout.slots:
        raise RequestError(
            f"cannot serve any slot on {request.nodes} node of {machine.name}: scheduler and driver"
            f" take all {cores} cores of the first. Ask for more nodes, or lower"
            " --scheduler-cores."
        )
    return layout


def _head_cores(request: Request) -> tuple[int, int]:
    head = request.machine.head
    large = head.large_from_nodes is not None and request.nodes >= head.large_from_nodes
    usual = head.large_scheduler_cores if large else head.scheduler_cores
    scheduler = usual if request.scheduler_cores is None else request.scheduler_cores
    driver = head.driver_cores if request.driver_cores is None else request.driver_cores
    return scheduler, driver


def _slots_of_node(request: Request) -> int:
    nodes = request.machine.nodes
    if request.slots_per_device < 1 or (request.slots_per_device > 1 and not nodes.gpus):
        raise RequestError(
            f"cannot place {request.slots_per_device} slots on each GPU of {request.machine.name}:"
            f" it has {nodes.gpus} GPUs a node. Leave --slots-per-device at 1 or raise it on a"
            " machine with GPUs."
        )
    return nodes.gpus * request.slots_per_device if nodes.gpus else nodes.usable_cores
