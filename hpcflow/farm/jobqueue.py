"""Worker jobs: one batch job for each worker of an elastic farm, submitted by dask-jobqueue.

dask-jobqueue knows how each batch system is spoken to: its job classes (those of SLURMCluster,
LSFCluster, PBSCluster and SGECluster) write the head of the script, submit it, read the id from the
answer, and cancel. The clusters themselves are not used: their scheduler lives in the driver's
process, and they submit again, at once and for ever, whatever ends. What a job runs is ours: a
worker that serves slots and finds scheduler and certificates in the run directory, so the script
holds no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never

from hpcflow.batch.command import Patience, Words, run_command
from hpcflow.batch.listing import live_jobs
from hpcflow.batch.local import Local
from hpcflow.batch.machine import GpuKind, Machine, QueueName
from hpcflow.batch.script import launcher_of
from hpcflow.batch.step import Launch, Step
from hpcflow.errors import BatchSystemError
from hpcflow.farm.interrupts import kept_interrupt
from hpcflow.private import write_private

with kept_interrupt():
    from dask_jobqueue.core import Job
    from dask_jobqueue.lsf import LSFJob
    from dask_jobqueue.pbs import PBSJob
    from dask_jobqueue.sge import SGEJob
    from dask_jobqueue.slurm import SLURMJob

_LAG_S: dict[QueueName, float] = {"slurm": 0.0, "lsf": 30.0, "pbs": 10.0, "sge": 30.0}
"""How long a batch system may take to list a new job [s]: some answer from copies."""
_DEVICES: dict[GpuKind, str] = {
    "nvidia": "CUDA_VISIBLE_DEVICES",
    "amd": "ROCR_VISIBLE_DEVICES",
    "intel": "ZE_AFFINITY_MASK",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOrder:
    """What the worker jobs of a farm have in common."""

    machine: Machine
    run: Path
    """Run directory; absolute."""
    farm: str
    """Id of the farm: a job that starts when the farm is gone ends."""
    walltime_s: int
    queue: str
    account: str | None
    slots: str
    """Slots of the farm at most, by pool, such as `gpu:160`."""

    def log(self, worker: str) -> Path:
        """Return the file for what a worker's job prints."""
        return self.run / "logs" / f"{worker}.log"

    def script(self, worker: str) -> Path:
        """Return the file of a worker's batch script."""
        return self.run / "logs" / f"{worker}.job.sh"


class WorkerJobs(Protocol):
    """Where the workers of an elastic farm come from. Methods raise BatchSystemError."""

    lag_s: float
    """How long after its submission a job may still be missing in `live` [s]."""

    def submit(self, worker: str) -> str:
        """Submit the job of a worker, and return the job's id."""
        ...

    def live(self, jobs: Collection[str]) -> set[str]:
        """Return those jobs that wait or run."""
        ...

    def cancel(self, jobs: Collection[str]) -> None:
        """End jobs. Those that are over are left as they are."""
        ...


# -- on this machine


class LocalWorkerJobs:
    """Workers as processes in the background, where there is no batch system."""

    lag_s = 0.0

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._system = Local(order.run / "logs")

    def submit(self, worker: str) -> str:
        """Start a worker, and return its id."""
        script = self._order.script(worker)
        _open_log(self._order.log(worker))
        lines = ("#!/bin/bash", *prologue(self._order, worker), command(self._order, worker))
        write_private(script, "\n".join(lines) + "\n", mode=0o700)
        return self._system.submit(script)

    def live(self, jobs: Collection[str]) -> set[str]:
        """Return those workers that run."""
        return {job for job in jobs if self._system.state(job).live}

    def cancel(self, jobs: Collection[str]) -> None:
        """End workers."""
        for job in jobs:
            self._system.cancel(job)


# -- on a batch system


class QueuedWorkerJobs:
    """Workers as batch jobs of one node each."""

    def __init__(self, order: WorkerOrder, system: QueueName) -> None:
        self._order = order
        self._system = system
        self._jobs: dict[str, Job] = {}
        self.lag_s = _LAG_S[system]

    def submit(self, worker: str) -> str:
        """Submit the batch job of a worker, and return its id."""
        job = worker_job(self._order, self._system, worker)
        _open_log(self._order.log(worker))
        try:
            asyncio.run(job.start())
        except ValueError as error:  # the answer holds no number
            raise BatchSystemError(
                f"cannot submit {worker}: {error}. Look at the queue by hand.",
                command=(str(job.submit_command),),
                exit_code=0,
                stderr=str(error),
            ) from None
        number = str(job.job_id)
        self._jobs[number] = job
        return number

    def live(self, jobs: Collection[str]) -> set[str]:
        """Return those batch jobs that wait or run."""
        return live_jobs(self._system) & set(jobs)

    def cancel(self, jobs: Collection[str]) -> None:
        """End batch jobs, all at once."""
        asyncio.run(self._cancel(jobs))

    async def _cancel(self, jobs: Collection[str]) -> None:
        ends = [self._jobs[job].close() for job in jobs]
        answers = await asyncio.gather(*ends, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BatchSystemError)]
        if errors and live_jobs(self._system) & set(jobs):
            raise errors[0]


class _WorkerJob(Job):
    """What is ours of a job, whatever the batch system."""

    def __init__(self, *, script: Path, command: str, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._script = script
        self._command_template = command

    @contextlib.contextmanager
    def job_file(self) -> Iterator[str]:
        """Write the script where only its user can read it, and keep it."""
        text = self.job_script()  # type: ignore[no-untyped-call]
        write_private(self._script, text, mode=0o700)
        yield str(self._script)

    @staticmethod
    async def _call(cmd: Sequence[str], **_: Any) -> str:
        """Run a command of the batch system, and keep its words when it fails."""
        return await asyncio.to_thread(
            run_command,
            cmd,
            what=f"run {shlex.join(cmd)!r}",
            words=Words(transient=()),
            patience=Patience(attempts=1),
        )


class _SlurmWorkerJob(_WorkerJob, SLURMJob):
    pass


class _LsfWorkerJob(_WorkerJob, LSFJob):
    pass


class _PbsWorkerJob(_WorkerJob, PBSJob):
    pass


class _SgeWorkerJob(_WorkerJob, SGEJob):
    pass


_JOBS: Mapping[QueueName, type[_WorkerJob]] = {
    "slurm": _SlurmWorkerJob,
    "lsf": _LsfWorkerJob,
    "pbs": _PbsWorkerJob,
    "sge": _SgeWorkerJob,
}


def worker_job(order: WorkerOrder, system: QueueName, worker: str) -> Job:
    """Return the batch job of a worker, ready to be submitted.

    It has a node to itself. What the user's `jobqueue.yaml` says holds where the machine's file
    says nothing.
    """
    machine = order.machine
    head = _head(order, system, worker)
    return _JOBS[system](
        name=worker,
        job_name=f"hpcflow-{worker}",
        cores=machine.nodes.usable_cores,
        memory="1GiB",  # of no effect: the job has all of its node
        processes=1,
        python=sys.executable,
        shebang="#!/bin/bash",
        script=order.script(worker),
        command=command(order, worker),
        job_script_prologue=list(prologue(order, worker)),
        job_directives_skip=head.left_out,
        job_extra_directives=[*head.directives, *machine.batch_options],
        **head.options,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """How a whole node, a wall time and a log are asked of a batch system."""

    options: dict[str, Any]
    """Of dask-jobqueue's job class."""
    directives: tuple[str, ...]
    left_out: tuple[str, ...]
    """Directives of dask-jobqueue that ask for a share of a node, or for other logs."""


def _head(order: WorkerOrder, system: QueueName, worker: str) -> _Head:
    nodes, log = order.machine.nodes, order.log(worker)
    minutes, seconds = divmod(order.walltime_s, 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    match system:
        case "slurm":
            by_qos = order.machine.queue_option == "qos"
            return _Head(
                options={
                    "queue": None if by_qos else order.queue,
                    "account": order.account,
                    "walltime": clock,
                },
                directives=(
                    *((f"--qos={order.queue}",) if by_qos else ()),
                    *("--nodes=1", "--exclusive", "--mem=0", "--no-requeue"),
                    *((f"--gpus-per-node={nodes.gpus}",) if nodes.gpus else ()),
                    *(f"--output={log}", "--open-mode=append"),
                ),
                left_out=("--cpus-per-task=", "#SBATCH --mem=", "#SBATCH -o ", "#SBATCH -e "),
            )
        case "lsf":
            minutes += seconds > 0
            return _Head(
                options={
                    "queue": order.queue,
                    "project": order.account,
                    "walltime": f"{minutes // 60}:{minutes % 60:02}",
                    "lsf_units": "mb",
                    "use_stdin": False,  # Summit takes the script as an argument
                },
                directives=("-nnodes 1", f"-o {log}"),
                left_out=tuple(f"#BSUB -{option} " for option in "nRMoe"),
            )
        case "pbs":
            gpus = f":ngpus={nodes.gpus}" if nodes.gpus else ""
            return _Head(
                options={
                    "queue": order.queue,
                    "account": order.account,
                    "walltime": clock,
                    "resource_spec": f"select=1:ncpus={nodes.usable_cores}{gpus}",
                },
                directives=("-l place=excl", "-j oe", "-o /dev/null", "-r n"),
                left_out=("#PBS -o ", "#PBS -e "),
            )
        case "sge":
            return _Head(
                options={"queue": order.queue, "project": order.account, "walltime": clock},
                directives=("-S /bin/bash", "-o /dev/null", "-r n"),
                left_out=("#$ -o ", "#$ -e "),
            )
        case _:
            assert_never(system)


# -- what a job runs


def prologue(order: WorkerOrder, worker: str) -> Iterator[str]:
    """Yield the lines of a worker's script before its command."""
    machine = order.machine
    yield f"# Worker {worker} of an elastic farm on {machine.name}. Its driver submits this script."
    if machine.batch_system not in {"slurm", "lsf"}:  # these write to the log from the beginning
        yield f"exec >> {shlex.quote(str(order.log(worker)))} 2>&1"
    yield from machine.setup
    if machine.step_launcher == "direct" and machine.nodes.gpus:  # not every site's PBS says which
        variable = _DEVICES[machine.nodes.gpu_kind or "nvidia"]
        every = ",".join(map(str, range(machine.nodes.gpus)))
        yield f'export {variable}="${{{variable}:-{every}}}"'
    yield f"export HPCFLOW_RUN={shlex.quote(str(order.run))}"
    yield f"export HPCFLOW_SLOTS={order.slots}"
    yield f'export HPCFLOW_ENDS_AT="$(($(date +%s) + {order.walltime_s}))"'
    if machine.scratch is not None:
        yield f'export HPCFLOW_SCRATCH="{machine.scratch}"'
    yield from _launch(order, worker).prepare


def command(order: WorkerOrder, worker: str) -> str:
    """Return the command of a worker's script: the worker, in place of the script's shell."""
    launch = _launch(order, worker)
    words = [shlex.join(("exec", *launch.words))]
    if launch.option:
        words.append(launch.option)
    words.append(f'{shlex.quote(sys.executable)} -m hpcflow worker --run "$HPCFLOW_RUN"')
    words.append(f"--farm {order.farm} --name {worker}")
    if order.machine.interface is not None:
        words.append(f"--interface {order.machine.interface}")
    return " ".join(words)


def _launch(order: WorkerOrder, worker: str) -> Launch:
    """Return how a script starts the worker: by itself, but where it runs on another node."""
    launcher = launcher_of(order.machine)
    if launcher.script_on_first_node:
        return Launch(words=())
    nodes = order.machine.nodes
    return launcher.launch(Step(name=worker, cores=nodes.usable_cores, gpus=nodes.gpus))


def _open_log(path: Path) -> None:
    """Make sure of a log that only its user can read: batch systems append to what is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
