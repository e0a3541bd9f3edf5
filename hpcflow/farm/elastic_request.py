"""What is asked of an elastic farm, checked against its machine before anything is started."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.devices import devices_here
from hpcflow.batch.machine import Machine, Queue
from hpcflow.batch.text import check_directive_path, check_word
from hpcflow.batch.walltime import show_walltime
from hpcflow.core.elastic import Bounds
from hpcflow.core.resources import CPU, GPU
from hpcflow.errors import RequestError
from hpcflow.farm.elastic import ElasticProcesses
from hpcflow.farm.jobqueue import LocalWorkerJobs, QueuedWorkerJobs, WorkerJobs, WorkerOrder
from hpcflow.farm.process import LEAVE_S, address_of
from hpcflow.journal.directory import RunDirectory

SHORTEST_S = 180
"""Shortest wall time of a worker [s]: less would hardly be more than its start and its end."""
_PROGRAMS = {"slurm": "sbatch", "lsf": "bsub", "pbs": "qsub", "sge": "qsub"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticRequest:
    """An elastic farm on a machine."""

    machine: Machine
    minimum: int
    """Workers to have even if no task waits."""
    maximum: int
    """Most workers."""
    walltime_s: float
    """Wall time of each worker's job [s]."""
    account: str | None
    queue_name: str | None
    """The machine's first queue if None."""
    interface: str | None
    """Network interface of the driver's host; the machine's if None."""
    idle_s: float
    """How long fewer workers must do before one is let go [s]."""
    farm: str = field(default_factory=lambda: uuid.uuid4().hex)

    def check(self, run: Path | None) -> None:
        """Refuse what the machine cannot give.

        Parameters
        ----------
        run
            The farm's run directory, if it keeps a run.

        Raises
        ------
        RequestError
            At the first fault.
        """
        self._check_numbers()
        allocation = read_allocation()
        if allocation.run is not None:
            raise RequestError(
                f"cannot open an elastic farm in batch job {allocation.job}: `hpcflow submit` has"
                " started a farm there. Use Farm() in it, or run the driver on a login node."
            )
        if self._is_local:
            return
        self._check_place(run)
        self._check_size()
        self._check_walltime()
        charged = self.account or self.machine.account
        if charged is not None:
            check_word(charged, what="an account")
        elif self.machine.account_required:
            raise RequestError(
                f"cannot submit workers to {self.machine.name} without an account: every batch job"
                " there is charged to one. Name it with `account`."
            )

    def _check_place(self, run: Path | None) -> None:
        name = self.machine.name
        if run is None:
            raise RequestError(
                f"cannot open an elastic farm on {name} without a run directory: its workers find"
                " scheduler and certificates there. Name one that their nodes see, with `run`."
            )
        check_directive_path(str(run.absolute()), what="a run directory")
        program = _PROGRAMS[self.machine.batch_system]
        if shutil.which(program) is None:
            raise RequestError(
                f"cannot submit workers to {name}: there is no program {program!r} on PATH. Run the"
                " driver on a login node of it."
            )
        self._host()

    def _check_numbers(self) -> None:
        for what, count, least in (("minimum", self.minimum, 0), ("maximum", self.maximum, 1)):
            if not isinstance(count, Integral) or isinstance(count, bool) or count < least:
                raise RequestError(
                    f"cannot have {count!r} workers: {what!r} is a whole number, at least {least}."
                    " Correct it."
                )
        if self.minimum > self.maximum:
            raise RequestError(
                f"cannot have at least {self.minimum} workers and at most {self.maximum}: the"
                " minimum is the larger one. Lower `minimum`, or raise `maximum`."
            )
        for what, time_s in (("walltime_s", self.walltime_s), ("idle_s", self.idle_s)):
            if not isinstance(time_s, Real) or isinstance(time_s, bool) or not time_s > 0:
                raise RequestError(
                    f"cannot use {time_s!r} as `{what}`: it is a number, more than 0 s. Correct it."
                )

    def _check_size(self) -> None:
        machine, queue = self.machine, self._queue
        if self.maximum > machine.nodes.count:
            raise RequestError(
                f"cannot have up to {self.maximum} workers on {machine.name}: each has a node, and"
                f" there are {machine.nodes.count}. Lower `maximum`."
            )
        if queue.jobs is not None and self.maximum > queue.jobs:
            raise RequestError(
                f"cannot have up to {self.maximum} workers in queue {queue.name} of {machine.name}:"
                f" each is a batch job, and it takes {queue.jobs} of a user. Lower `maximum`, or"
                " name another queue."
            )

    def _check_walltime(self) -> None:
        queue, limit = self._queue, self._queue.limits[0]
        if not SHORTEST_S <= self.walltime_s <= limit.walltime_s:
            raise RequestError(
                f"cannot ask for {show_walltime(int(self.walltime_s)) or '0s'} in queue"
                f" {queue.name} of {self.machine.name}: it gives {limit.walltime} at most to a job"
                f" of one node, and a worker needs {show_walltime(SHORTEST_S)} (it leaves"
                f" {LEAVE_S:g} s before the end). Correct `walltime_s`; workers are replaced when"
                " theirs is over."
            )

    # -- what follows from it

    def _host(self) -> str:
        """Return the address of this host that the workers' nodes reach."""
        return address_of(self.interface or self.machine.interface)

    @property
    def _is_local(self) -> bool:
        return self.machine.batch_system == "local"

    @property
    def _queue(self) -> Queue:
        return self.machine.queue_named(self.queue_name)

    @property
    def slots(self) -> dict[str, int]:
        """Slots of one worker, by pool."""
        nodes = self.machine.nodes
        if not self._is_local:
            return {GPU: nodes.gpus} if nodes.gpus else {CPU: nodes.usable_cores}
        given = read_allocation().devices
        devices = devices_here() if given is None else given
        return {GPU: len(devices)} if devices else {CPU: len(os.sched_getaffinity(0))}

    @property
    def bounds(self) -> Bounds:
        """How many workers there may be; on this machine no more than it has nodes."""
        most = self.machine.nodes.count if self._is_local else self.maximum
        return Bounds(
            minimum=min(self.minimum, most),
            maximum=min(self.maximum, most),
            slots=sum(self.slots.values()),
            idle_s=self.idle_s,
        )

    def start(self, directory: RunDirectory, *, keep_logs: bool) -> ElasticProcesses:
        """Start the farm's scheduler, and make ready for its workers.

        Raises
        ------
        FarmError
            If the scheduler cannot be started.
        """
        machine = self.machine
        order = WorkerOrder(
            machine=machine,
            run=directory.path.absolute(),
            farm=self.farm,
            walltime_s=int(self.walltime_s),
            queue=self._queue.name,
            account=self.account or machine.account,
            slots=",".join(f"{p}:{n * self.bounds.maximum}" for p, n in self.slots.items()),
        )
        return ElasticProcesses(
            directory,
            _jobs(order),
            order=order,
            bounds=self.bounds,
            host=self._host(),
            keep_logs=keep_logs,
        )


def _jobs(order: WorkerOrder) -> WorkerJobs:
    match order.machine.batch_system:
        case "local":
            return LocalWorkerJobs(order)
        case system:
            return QueuedWorkerJobs(order, system)
