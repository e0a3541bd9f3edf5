"""What `hpcflow status --json` prints: one object, stable, every field documented here.

Fields are added, never renamed or removed, within one major version of hpcflow. Times are seconds
since the epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from hpcflow.core.resources import pool_of
from hpcflow.core.state import RunState, SlotState, StageState
from hpcflow.dashboards.source import RunSource
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import read_scheduler_file


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """The process that writes the run."""

    host: str
    pid: int


class Tasks(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of tasks over all stages."""

    offered: int
    """Tasks known so far."""
    expected: int | None
    """Tasks that there will have been in the end; null while an open stage has no known end."""
    succeeded: int
    failed: int
    lost: int
    running: int
    waiting: int
    """Offered, and neither running nor ended."""
    retried: int
    """Attempts, not tasks: those that failed or were lost, and whose task was tried again."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage; counts as in `Tasks`."""

    stage: str
    kind: str
    """`map` or `stream`."""
    function: str
    offered: int
    expected: int | None
    succeeded: int
    failed: int
    lost: int
    running: int
    waiting: int
    retried: int
    closed: bool
    """No further task will be offered."""
    cancelled: bool


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """Dask's dashboard of one scheduler."""

    node: str
    """The host that alone can see it."""
    address: str
    """Where it listens there."""
    tunnel: str
    """The command that brings it to another machine, under the same port of `localhost`."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot runs."""

    stage: str
    key: str
    attempt: int
    started: float
    """Estimated: the true stamp comes with the outcome."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One slot of the latest session."""

    slot: str
    host: str
    worker: str
    pid: int
    """Process id of its runner."""
    pool: str
    """`gpu`, or `cpu` for slots without a device."""
    device: str
    uuid: str
    """What tells the device from all others; empty where that is unknown."""
    cores: tuple[int, ...]
    up: bool
    reason: str
    """Why it is not up; empty where it is."""
    attempts: int
    """Attempts that ended on it in this session."""
    running: Work | None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One driver's hold on the run."""

    number: int
    """From 1."""
    opened: float
    closed: float | None
    """Null while it runs, and for ever where its driver was killed."""
    reason: str | None
    """`finished`, `interrupted`, `error: ...`; null as `closed`."""
    host: str
    pid: int
    slots: int
    """Slots asked for."""
    replayed: int
    """Outcomes on record when it opened."""
    hpcflow: str
    python: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One of the latest attempts that did not succeed."""

    at: float
    stage: str
    key: str
    attempt: int
    slot: str
    host: str
    cause: str
    type: str
    """Qualified name of the exception's class."""
    message: str
    final: bool
    """Whether it settled the task; otherwise the task is tried again."""


class BatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """The batch job that runs the run, or ran it last."""

    id: str
    system: str
    """`slurm`, `lsf` or `local`."""
    machine: str
    state: str | None
    """`waiting`, `running`, `succeeded`, `failed`, `cancelled` or `gone`; null where the batch
    system cannot be asked."""
    submitted: float
    nodes: int
    slots: int
    """Slots asked for."""
    walltime_s: float
    follow_ups: list[str]
    """Ids of the batch jobs that may still continue the run after this one."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment."""

    directory: str
    run_id: str
    seed: int | None
    phase: str
    """`empty`, `running`, `finished`, `interrupted`, `out of wall time`, `stopped by an error` or
    `killed`."""
    driver: Driver | None
    """Who holds the run now."""
    resume: str | None
    """How to continue it; null where it runs or is finished."""
    as_of: float
    """When this was read."""
    last_event: float | None
    tasks: Tasks
    rate_per_s: float | None
    """Tasks of this session that ended lately [1/s]; null unless the run is live."""
    estimated_end: float | None
    """At that rate; null where the rate or the number of tasks is unknown."""
    stages: list[Stage]
    slots: list[Slot]
    sessions: list[Session]
    failures: list[Failure]
    """The latest 20, newest last."""
    batch_job: BatchJob | None = None
    """Null where none was submitted, and where nobody has asked."""
    dashboards: list[Dashboard]
    """Where they were asked for and the run is live."""


def status_of(source: RunSource, *, now: float) -> Status:
    """Return the status of a run as it was at its last refresh.

    Parameters
    ----------
    source
        The run.
    now
        The time [s since the epoch].
    """
    state, driver = source.state, source.driver
    live = source.live
    return Status(
        directory=str(source.directory.path),
        run_id=state.run_id,
        seed=state.seed,
        phase=source.phase.value,
        driver=Driver(host=driver.host, pid=driver.pid) if live and driver is not None else None,
        resume=source.resume,
        as_of=now,
        last_event=state.last_at,
        tasks=_tasks(state),
        rate_per_s=state.rate(now) if live else None,
        estimated_end=state.estimated_end(now) if live else None,
        stages=[_stage(stage) for stage in state.stages.values()],
        slots=[_slot(slot) for slot in state.slots.values()],
        sessions=[msgspec.convert(one, Session, from_attributes=True) for one in state.sessions],
        failures=[msgspec.convert(one, Failure, from_attributes=True) for one in state.failures],
        dashboards=list(_dashboards(source.directory)) if live else [],
    )


def encode_status(status: Status) -> str:
    """Return the status as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(status), indent=2).decode()


def _dashboards(directory: RunDirectory) -> Iterator[Dashboard]:
    """Yield the dashboards of the run's schedulers, shard by shard."""
    for shard in itertools.count(1):
        scheduler = read_scheduler_file(directory, shard=shard)
        if scheduler is None:
            return
        if scheduler.dashboard is not None and scheduler.tunnel is not None:
            yield Dashboard(
                node=scheduler.node, address=scheduler.dashboard, tunnel=scheduler.tunnel
            )


def _tasks(state: RunState) -> Tasks:
    return Tasks(
        offered=state.offered,
        expected=state.expected,
        succeeded=state.succeeded,
        failed=state.failed,
        lost=state.lost,
        running=state.running,
        waiting=state.waiting,
        retried=state.retried,
    )


def _stage(stage: StageState) -> Stage:
    return msgspec.convert(stage, Stage, from_attributes=True)


def _slot(slot: SlotState) -> Slot:
    running = slot.running
    return Slot(
        slot=slot.slot,
        host=slot.host,
        worker=slot.worker,
        pid=slot.pid,
        pool=pool_of(slot.device),
        device=slot.device,
        uuid=slot.uuid,
        cores=slot.cores,
        up=slot.up,
        reason=slot.reason,
        attempts=slot.ended,
        running=None if running is None else msgspec.convert(running, Work, from_attributes=True),
    )
