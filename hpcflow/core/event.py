"""The closed set of events that a run's journal is made of.

Status, resume, verify, timings, reports and dashboards are all folds of these. Hot events are
columns: one line carries everything that came back from one slot together. `at` and the stamps
are seconds since the epoch. A field is added with a default; a change of meaning is a new
`JOURNAL_VERSION` (`hpcflow.journal.format`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from hpcflow.core.task import Cause, ErrorText


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something that happened to a run."""

    at: float


class SessionOpened(Event, frozen=True, kw_only=True, tag="session-opened"):
    """A driver opened the run: the first time, or to resume it."""

    run_id: str
    seed: int
    """Seed of the run: drawn once, the same in every session."""
    hpcflow: str
    python: str
    host: str
    pid: int
    slots: int
    """Slots asked for."""
    elastic: bool = False
    """Whether slots come and go with the work: each is held only while it is up."""


FINISHED = "finished"
"""Reason of a session whose driver ended by itself."""
OUT_OF_TIME = "out of wall time"
"""Reason of a session that ended because no task fitted in what was left of the wall time."""


class SessionClosed(Event, frozen=True, kw_only=True, tag="session-closed"):
    """The driver let go of the run. A killed driver leaves no such event."""

    reason: str
    """`finished`, `interrupted`, `out of wall time`, or `error: ...`."""


class StageOpened(Event, frozen=True, kw_only=True, tag="stage-opened"):
    """A map, a stream or an executor began (again, in a resumed session)."""

    stage: str
    kind: str
    """`map`, `stream` or `executor`."""
    function: str
    fingerprint: str
    """Digest of the function's source, by which a changed function is noticed."""
    total: int | None = None
    """Number of tasks, where the iterable has a length."""


class StageClosed(Event, frozen=True, kw_only=True, tag="stage-closed"):
    """No further task will be offered: the iterable ended or the stream was closed."""

    stage: str
    offered: int
    """Tasks the stage has had in all, replayed ones included."""
    cancelled: bool = False
    """The driver stopped reading before all outcomes were back."""


class SlotJoined(Event, frozen=True, kw_only=True, tag="slot-joined"):
    """A runner is up, its preloads are done, and it takes tasks from now on."""

    slot: str
    host: str
    worker: str
    pid: int
    device: str
    cores: tuple[int, ...]
    booted: float
    """When its process was started."""
    preload_s: float
    """How long its preloads took [s]."""
    uuid: str = ""
    """What tells its device from all others; empty where that is unknown."""


class SlotLost(Event, frozen=True, kw_only=True, tag="slot-lost"):
    """The slot takes no more tasks: its runner is restarting, or its worker is gone."""

    slot: str
    reason: str


class TasksOffered(Event, frozen=True, kw_only=True, tag="tasks-offered"):
    """Tasks became known to the run for the first time, in order of position."""

    stage: str
    first: int
    """Position of the first of them in the stage, from 0."""
    keys: list[str]
    digests: list[str] = []
    """Content digest of each input where the user named the tasks, "" for one whose key holds
    it; empty if all do."""


class ChunkSent(Event, frozen=True, kw_only=True, tag="chunk-sent"):
    """One or more tasks went to a slot together."""

    chunk: int
    stage: str
    slot: str
    attempt: int
    keys: list[str]


class PayloadRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value too large for the journal lies."""

    file: str
    """Path relative to the run directory."""
    size: int
    """Length [bytes]."""
    digest: str
    """BLAKE2b digest of its content, 16 bytes in hexadecimal."""


class TasksSucceeded(Event, frozen=True, kw_only=True, tag="tasks-succeeded"):
    """Final: these tasks returned. Columns of equal length; `at` is `collected` of all.

    A value that survives JSON exactly stands in `values`. Any other has None there, and its
    pickle (base64) in `pickles` or its place in `payloads`, by index.
    """

    stage: str
    slot: str
    attempt: int
    submitted: float
    keys: list[str]
    values: list[Any]
    created: list[float]
    started: list[float]
    finished: list[float]
    pickles: dict[int, bytes] = {}
    payloads: dict[int, PayloadRef] = {}


class _Ended(Event, frozen=True, kw_only=True):
    stage: str
    key: str
    slot: str
    attempt: int
    created: float
    submitted: float
    started: float
    finished: float
    cause: Cause
    error: ErrorText


class TaskFailed(_Ended, frozen=True, kw_only=True, tag="task-failed"):
    """Final: the task is to blame and has no retries left. `at` is `collected`."""


class TaskLost(_Ended, frozen=True, kw_only=True, tag="task-lost"):
    """Final: its slots vanished under it too many times."""


class AttemptFailed(_Ended, frozen=True, kw_only=True, tag="attempt-failed"):
    """Not final: the attempt failed and the task will be tried again."""


class AttemptLost(_Ended, frozen=True, kw_only=True, tag="attempt-lost"):
    """Not final: the slot vanished under the task, which will run again elsewhere."""


AnyEvent = (
    SessionOpened
    | SessionClosed
    | StageOpened
    | StageClosed
    | SlotJoined
    | SlotLost
    | TasksOffered
    | ChunkSent
    | TasksSucceeded
    | TaskFailed
    | TaskLost
    | AttemptFailed
    | AttemptLost
)
