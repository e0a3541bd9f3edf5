"""What is asked of a machine, checked against it before anything is submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpcflow.batch.layout import layout_of
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
    cpu_slots: int = 0
    """Slots without a GPU on each node, next to those with one."""
    shards: int = 1
    """Schedulers, each with its share of the nodes."""
    follow_ups: int = 0
    """Most batch jobs that continue the run after this one."""
    dashboard: bool = False
    """Whether Dask's dashboards are served, on loopback."""
    insecure: bool = False
    """Whether the farm does without TLS."""
    scheduler_cores: int | None = None
    """Cores of the first node for the schedulers, in all; as the machine says if None."""
    driver_cores: int | None = None
    """Cores of the first node for the driver; as the machine says if None."""

    @property
    def queue(self) -> Queue:
        """The queue that is asked."""
        return self.machine.queue_named(self.queue_name)

    @property
    def log(self) -> Path:
        """The batch job's own log, without its id and ending."""
        return self.run / "logs" / "batch"

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
        _ = self.machine.script_system  # raises where there is none
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
        if self.follow_ups < 0:
            raise RequestError(
                f"cannot submit {self.follow_ups} follow-ups: their number is 0 or more. Raise"
                " --follow-ups."
            )
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
                f" to {limit.nodes} nodes. Shorten --walltime; --follow-ups continue the run."
            )
