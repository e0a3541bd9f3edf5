"""Turn a final event back into the outcomes that a driver sees: the same live and replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcflow.core.event import SlotJoined, TaskFailed, TaskLost, TasksSucceeded
from hpcflow.core.task import AnyOutcome, Failed, Lost, Pickled, Succeeded
from hpcflow.journal.payload import Payload

FinalEvent = TasksSucceeded | TaskFailed | TaskLost


def outcomes_of(
    event: FinalEvent, place: SlotJoined, run: Path | None, *, replayed: bool = False
) -> Iterator[AnyOutcome]:
    """Yield the outcomes that a final event records.

    Parameters
    ----------
    event
        The event.
    place
        The slot as it was when it joined.
    run
        The run directory, for values in payload files.
    replayed
        Whether the event was read back.
    """
    if isinstance(event, TasksSucceeded):
        if event.pickles or event.payloads or replayed:
            return (
                succeeded(event, index, place=place, run=run, replayed=replayed)
                for index in range(len(event.keys))
            )
        return _plain(event, place)
    kind = Failed if isinstance(event, TaskFailed) else Lost
    outcome = kind(
        key=event.key,
        stage=event.stage,
        attempt=event.attempt,
        host=place.host,
        worker=place.worker,
        slot=event.slot,
        device=place.device,
        created=event.created,
        submitted=event.submitted,
        started=event.started,
        finished=event.finished,
        collected=event.at,
        replayed=replayed,
        cause=event.cause,
        error=event.error,
    )
    return iter((outcome,))


def _plain(event: TasksSucceeded, place: SlotJoined) -> Iterator[Succeeded]:
    """Yield outcomes whose values are all plain: the short way, for there may be a million."""
    stage, attempt, slot = event.stage, event.attempt, event.slot
    host, worker, device = place.host, place.worker, place.device
    submitted, collected = event.submitted, event.at
    columns = (event.keys, event.values, event.created, event.started, event.finished)
    for key, value, created, started, finished in zip(*columns, strict=True):
        yield Succeeded(
            key=key,
            stage=stage,
            attempt=attempt,
            host=host,
            worker=worker,
            slot=slot,
            device=device,
            created=created,
            submitted=submitted,
            started=started,
            finished=finished,
            collected=collected,
            stored=value,
        )


def succeeded(
    event: TasksSucceeded, index: int, *, place: SlotJoined, run: Path | None, replayed: bool
) -> Succeeded:
    """Return the outcome at `index` of the event's columns."""
    return Succeeded(
        key=event.keys[index],
        stage=event.stage,
        attempt=event.attempt,
        host=place.host,
        worker=place.worker,
        slot=event.slot,
        device=place.device,
        created=event.created[index],
        submitted=event.submitted,
        started=event.started[index],
        finished=event.finished[index],
        collected=event.at,
        replayed=replayed,
        stored=_stored(event, index, run),
    )


def _stored(event: TasksSucceeded, index: int, run: Path | None) -> Any:
    if index in event.pickles:
        return Pickled(event.pickles[index])
    if index in event.payloads:
        assert run is not None, "only a run has payloads"
        return Payload(run, event.payloads[index])
    return event.values[index]
