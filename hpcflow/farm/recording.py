"""The journal's words for what the dispatcher decided."""

from __future__ import annotations

from collections.abc import Sequence

from hpcflow.core.event import (
    AttemptFailed,
    AttemptLost,
    ChunkSent,
    PayloadRef,
    SlotJoined,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.instruction import Chunk, Settle, SettleFailure, Verdict
from hpcflow.farm.request import StageRequest
from hpcflow.farm.stage import Named
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


def record_offer(stage: str, named: Sequence[Named], *, at: float) -> TasksOffered:
    """Return the event of tasks that the run meets for the first time.

    Their positions follow each other: what a resumed run knows already comes before.
    """
    return TasksOffered(
        at=at,
        stage=stage,
        first=named[0].position,
        keys=[each.key for each in named],
        digests=[each.digest for each in named if each.digest],
    )


def record_chunk(slot: str, chunk: Chunk, *, at: float) -> ChunkSent:
    """Return the event of a chunk that goes to a slot."""
    return ChunkSent(
        at=at,
        chunk=chunk.number,
        stage=chunk.stage,
        slot=slot,
        attempt=chunk.attempt,
        keys=[task.key for task in chunk.tasks],
    )


def record_success(settle: Settle, *, at: float) -> TasksSucceeded:
    """Return the event of tasks that returned."""
    tasks = settle.tasks
    return TasksSucceeded(
        at=at,
        stage=settle.chunk.stage,
        slot=settle.slot,
        attempt=settle.chunk.attempt,
        submitted=tasks[0].submitted,
        keys=[task.key for task in tasks],
        values=settle.values,
        created=[task.created for task in tasks],
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
        submitted=task.submitted,
        started=failure.started,
        finished=failure.finished,
        cause=failure.cause,
        error=failure.error,
    )
