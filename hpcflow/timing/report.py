"""timings.csv: one row an attempt, for people and pandas."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from typing import TextIO

from hpcflow.core.event import AnyEvent
from hpcflow.timing.attempt import Batch, Ended, batches_of

COLUMNS = (
    "stage", "key", "attempt", "ended", "cause", "host", "worker", "slot", "device",
    "created", "submitted", "started", "finished", "collected", "session",
)  # fmt: skip
"""`ended` is `succeeded`, `failed`, `lost`, or in a live run `running`; `cause` is empty where it
succeeded; times are seconds since the epoch to the microsecond, empty where the driver never
learnt them; `session` counts from 1."""


def write_timings(events: Iterable[AnyEvent], file: TextIO, *, now: float | None = None) -> int:
    """Write one row an attempt, as the events come, and return the number of rows.

    Attempts that were tried again or cut off have a row each; a task's outcome is its last row.

    Parameters
    ----------
    events
        The whole journal, in order.
    file
        Open for text with `newline=""`.
    now
        The time [s since the epoch] where the run is live: what runs then has a row too, without
        `finished`.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for batch in batches_of(events, now=now):
        writer.writerows(_rows(batch))
        count += len(batch.keys)
    return count


def _rows(batch: Batch) -> Iterator[tuple[object, ...]]:
    place = batch.place
    head = (batch.attempt, batch.ended.value, batch.cause)
    where = (place.host, place.worker, batch.slot, place.device)
    submitted, collected = _time(batch.submitted), _time(batch.collected)
    over = batch.ended is not Ended.RUNNING
    for key, created, started, finished in zip(
        batch.keys, batch.created, batch.started, batch.finished, strict=True
    ):
        yield (
            batch.stage, key, *head, *where, _time(created), submitted,
            _time(started), _time(finished) if over else "", collected, batch.session,
        )  # fmt: skip


def _time(at: float) -> str:
    return "" if math.isnan(at) else f"{at:.6f}"
