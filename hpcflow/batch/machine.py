"""A machine as data: one TOML file says what a batch script for it needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from hpcflow.batch.text import check_directive_path, check_line, check_word
from hpcflow.batch.walltime import parse_walltime
from hpcflow.errors import RequestError, hint
from hpcflow.settings import load_toml

BatchSystemName = Literal["local", "slurm", "lsf"]
"""Batch systems that hpcflow writes batch scripts for."""
QueueName = Literal["slurm", "lsf", "pbs", "sge"]
"""Batch systems that take the worker jobs of an elastic farm."""
StepLauncherName = Literal["direct", "srun", "jsrun"]
GpuKind = Literal["nvidia", "amd", "intel"]

_LAUNCHERS: dict[str, tuple[str, ...]] = {
    "local": ("direct",),
    "slurm": ("srun",),
    "lsf": ("jsrun",),
    "pbs": ("direct",),
    "sge": ("direct",),
}

MACHINES = Path(__file__).parents[1] / "configs" / "machines"
"""The machines that come with hpcflow."""


class Nodes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine's compute nodes, all alike."""

    count: int
    """How many there are."""
    cores: int | None = None
    """Physical cores of one; what is at hand if left out, on this machine alone."""
    system_cores: int = 0
    """Of these, kept back for the system."""
    gpus: int = 0
    """GPUs of one, as the batch system counts them."""
    gpu_kind: GpuKind | None = None
    memory_gib: float | None = None
    """Memory of one [GiB]."""

    @property
    def usable_cores(self) -> int:
        """Cores of one node that processes may use."""
        assert self.cores is not None, "resolved before it is asked"
        return self.cores - self.system_cores


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What scheduler and driver take of the first node's cores; its others still serve."""

    scheduler_cores: int = 0
    driver_cores: int = 0
    large_from_nodes: int | None = None
    """Allocations of so many nodes give the scheduler `large_scheduler_cores`."""
    large_scheduler_cores: int = 0


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wall time that jobs up to a size can have."""

    nodes: int
    """Most nodes."""
    walltime: str
    """Longest wall time, such as `2h`."""

    @property
    def walltime_s(self) -> int:
        """Longest wall time [s]."""
        return parse_walltime(self.walltime)


class Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A queue (Slurm: a partition or a QOS) and what it gives."""

    name: str
    limits: list[Limit]
    """By size, smallest first. A job has the limit of the first it fits in."""
    jobs: int | None = None
    """Most jobs of one user that it takes at once."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine: where the farm is launched, and how."""

    description: str
    batch_system: BatchSystemName | QueueName
    step_launcher: StepLauncherName
    nodes: Nodes
    head: Head = Head()
    queues: list[Queue]
    """The first is the default."""
    queue_option: Literal["partition", "qos"] = "partition"
    """What Slurm calls a queue here."""
    account: str | None = None
    """Whom to charge where the user says nothing."""
    account_required: bool = False
    interface: str | None = None
    """Network interface that scheduler and workers listen on; the system's choice if left out."""
    scratch: str | None = None
    """Node-local directory for scratch files; may name `$USER`."""
    batch_options: list[str] = []
    """Directives that every job of this machine has, as the batch system reads them."""
    setup: list[str] = []
    """Lines of bash before anything is started: modules, variables."""
    explicit_placement: bool = False
    """Place steps by explicit resource files (jsrun alone)."""
    name: str = ""
    """Name of the file without its ending; never in the file."""

    @property
    def script_system(self) -> BatchSystemName:
        """The batch system, if hpcflow writes batch scripts for it.

        Raises
        ------
        RequestError
            If it does not.
        """
        match self.batch_system:
            case "pbs" | "sge":
                raise RequestError(
                    f"cannot write a batch script for {self.name}: its batch system is"
                    f" {self.batch_system}, and hpcflow writes them for slurm and lsf. Use"
                    f" Farm.elastic({self.name!r}, ...) in a driver on a login node."
                )
            case name:
                return name

    def queue_named(self, name: str | None) -> Queue:
        """Return the queue called `name`, or the default one.

        Raises
        ------
        RequestError
            If there is no such queue: names the nearest.
        """
        if name is None:
            return self.queues[0]
        names = [queue.name for queue in self.queues]
        if name not in names:
            help_ = hint(name, names)
            raise RequestError(
                f"cannot use queue {name!r} on {self.name}: there is none of that name;"
                f" {help_} Correct the name, or add the queue"
                " to the machine's file."
            )
        return self.queues[names.index(name)]


def known_machines(directory: Path | None = None) -> list[str]:
    """Return the names of the machines in a directory; by default those that come with hpcflow."""
    return sorted(path.stem for path in (directory or MACHINES).glob("*.toml"))


def machine_path(name: str, *, directory: Path | None = None) -> Path:
    """Return the file of the machine called `name`, or `name` itself if it is a TOML file's path.

    Raises
    ------
    RequestError
        If no machine is called so: gives the nearest name.
    """
    if Path(name).suffix == ".toml":
        return Path(name)
    place, known = str(directory or MACHINES), known_machines(directory)
    if not known:
        raise RequestError(
            f"cannot find machine {name!r} in {place!r}: no machine's file is there. Name the"
            " directory of yours with --machines, or the path of a TOML file."
        )
    if name not in known:
        help_ = hint(name, known)
        raise RequestError(
            f"cannot find machine {name!r} in {place!r}: there is none of that name;"
            f" {help_} Name one of them, or the path of a TOML"
            " file."
        )
    return (directory or MACHINES) / f"{name}.toml"


def load_machine(name: str, *, directory: Path | None = None) -> Machine:
    """Return the machine called `name`, or the one in the file that `name` is the path of.

    Parameters
    ----------
    name
        A name such as `summit`, or a path that ends in `.toml`.
    directory
        Where named machines are; those that come with hpcflow if None.

    Raises
    ------
    RequestError
        If there is none (the nearest name is given), or its file is wrong.
    """
    path = machine_path(name, directory=directory)
    machine = msgspec.structs.replace(load_toml(path, Machine), name=path.stem)
    _check(machine, path)
    return machine


def _check(machine: Machine, path: Path) -> None:
    """Refuse a file whose values contradict each other."""

    def wrong(rule: str, remedy: str) -> RequestError:
        return RequestError(f"cannot use machine file {str(path)!r}: {rule}. {remedy}.")

    launchers = _LAUNCHERS[machine.batch_system]
    if machine.step_launcher not in launchers:
        raise wrong(
            f"batch system {machine.batch_system} goes with step launcher {launchers[0]}, not"
            f" {machine.step_launcher}",
            f"Set step_launcher = {launchers[0]!r}",
        )
    nodes = machine.nodes
    if nodes.cores is None and machine.batch_system != "local":
        raise wrong("nodes.cores is missing", "Say how many cores a node has")
    counts = (nodes.count, 1 if nodes.cores is None else nodes.usable_cores)
    others = (nodes.gpus, nodes.system_cores, machine.head.scheduler_cores)
    if min(counts) < 1 or min(*others, machine.head.driver_cores) < 0:
        raise wrong("a count of nodes, cores or GPUs is out of range", "Correct it")
    for rule, remedy in _faults_of_queues(machine):
        raise wrong(rule, remedy)
    _check_texts(machine)
    if machine.explicit_placement and machine.step_launcher != "jsrun":
        raise wrong("only jsrun reads explicit resource files", "Remove explicit_placement")


def _faults_of_queues(machine: Machine) -> Iterator[tuple[str, str]]:
    if not machine.queues:
        yield "it has no queue", "Add one, with its limits"
    for queue in machine.queues:
        sizes = [limit.nodes for limit in queue.limits]
        if not sizes:
            yield f"queue {queue.name} has no limits", "Say what it gives"
        if sizes != sorted(sizes):
            yield f"queue {queue.name} has its limits out of order", "Sort them by nodes"


def _check_texts(machine: Machine) -> None:
    """Refuse what cannot stand in a script."""
    for queue in machine.queues:
        check_word(queue.name, what="the name of a queue")
        for limit in queue.limits:
            parse_walltime(limit.walltime)
    if machine.account is not None:
        check_word(machine.account, what="an account")
    if machine.interface is not None:
        check_word(machine.interface, what="an interface")
    if machine.scratch is not None:
        check_directive_path(machine.scratch.replace("$USER", ""), what="a scratch directory")
    for line in (*machine.setup, *machine.batch_options):
        check_line(line, what="a line of a machine's file")
