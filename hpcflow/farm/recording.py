"""The journal's words for what the dispatcher decided."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hpcflow.core.event import (
    AttemptFailed,
    AttemptLost,
    ChunkSent,
    Event,
    PayloadRef,
    SlotJoined,
    StageClosed,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.instruction import Chunk, Settle, SettleFailure, Verdict
from hpcflow.core.numbered import Numbered, created_of, keys_of
from hpcflow.core.stimulus import Task
from hpcflow.farm.request import StageRequest
from hpcflow.farm.wire import SlotInfo

_FAILURES: dict[Verdict, type[TaskFailed | TaskLost | AttemptFailed | AttemptLost]] = {
    Verdict.FAILED: TaskFailed,
    Verdict.LOST: TaskLost,
    Verdict.RETRY: AttemptFailed,
    Verdict.RELOCATE: AttemptLost,
}


def record_join(info: SlotInfo, *, at: float) -> SlotJoined:
    """Return the event of a slot that is up."""
    return SlotJoined(
        at=at,
        slot=info.name,
        host=info.host,
        worker=info.worker,
        pid=info.pid,
        device=info.device,
        cores=info.cores,
        booted=info.booted,
        preload_s=info.preload_s,
        uuid=info.uuid,
    )


def record_stage(request: StageRequest, fingerprint: str, *, at: float) -> StageOpened:
    """Return the event of a stage that begins."""
    return StageOpened(
        at=at,
        stage=request.name,
        kind=request.kind,
        function=getattr(request.function, "__qualname__", type(request.function).__qualname__),
        fingerprint=fingerprint,
        total=request.total,
    )


def record_cancel(stage: str, offered: int, *, at: float) -> StageClosed:
    """Return the event of a stage that was given up for good."""
    return StageClosed(at=at, stage=stage, offered=offered, cancelled=True)


def record_offers(stage: str, tasks: Sequence[Task], *, at: float) -> list[Event]:
    """Return the events of those of some tasks that the run meets for the first time.

    There is one for each run of consecutive positions.
    """
    if isinstance(tasks, Numbered):
        return [TasksOffered(at=at, stage=stage, first=tasks.first, keys=tasks.keys)]
    tasks = [task for task in tasks if not task.known]
    if not tasks:
        return []
    runs: list[Sequence[Task]]
    if tasks[-1].position - tasks[0].position == len(tasks) - 1:
        runs = [tasks]  # they come in order of position
    else:
        starts = [0] + [n for n in range(1, len(tasks)) if not _follows(tasks, n)]
        runs = [tasks[a:b] for a, b in itertools.pairwise([*starts, len(tasks)])]
    return [
        TasksOffered(
            at=at,
            stage=stage,
            first=run[0].position,
            keys=keys_of(run),
            digests=[each.digest for each in run] if any(each.digest for each in run) else [],
        )
        for run in runs
    ]


def _follows(tasks: Sequence[Task], index: int) -> bool:
    return tasks[index].position == tasks[index - 1].position + 1


def record_chunk(slot: str, chunk: Chunk, *, at: float) -> ChunkSent:
    """Return the event of a chunk that goes to a slot."""
    return ChunkSent(
        at=at,
        chunk=chunk.number,
        stage=chunk.stage,
        slot=slot,
        attempt=chunk.attempt,
        keys=chunk.keys,
    )


def record_success(settle: Settle, *, at: float) -> TasksSucceeded:
    """Return the event of tasks that returned."""
    chunk, tasks = settle.chunk, settle.tasks
    return TasksSucceeded(
        at=at,
        stage=settle.chunk.stage,
        slot=settle.slot,
        attempt=settle.chunk.attempt,
        submitted=chunk.submitted,
        keys=keys_of(tasks),
        values=settle.values,
        created=created_of(tasks),
        started=settle.started,
        finished=settle.finished,
        pickles={i: v for i, v in settle.stored.items() if isinstance(v, bytes)},
        payloads={i: v for i, v in settle.stored.items() if isinstance(v, PayloadRef)},
    )


def record_failure(
    settle: SettleFailure, *, at: float
) -> TaskFailed | TaskLost | AttemptFailed | AttemptLost:
    """Return the event of an attempt that ended without a value."""
    task, failure = settle.task, settle.failure
    return _FAILURES[settle.verdict](
        at=at,
        stage=task.stage,
        key=task.key,
        slot=settle.slot,
        attempt=settle.attempt,
        created=task.created,
        submitted=settle.chunk.submitted,
        started=failure.started,
        finished=failure.finished,
        cause=failure.cause,
        error=failure.error,
    )
