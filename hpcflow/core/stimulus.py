"""What can happen to the dispatcher, and the values that it is told in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcflow.core.resources import CPU
from hpcflow.core.task import Cause, ErrorText


class Task:
    """One function applied to one input: what the dispatcher moves around."""

    __slots__ = ("attempt", "created", "key", "losses", "payload", "stage", "submitted")

    def __init__(self, *, stage: str, key: str, payload: bytes, created: float) -> None:
        self.stage = stage
        self.key = key
        self.payload = payload
        """The pickled input."""
        self.created = created
        self.submitted = created
        """When it was last sent to a slot; kept by whoever sends it."""
        self.attempt = 1
        """The try that is next or under way, from 1."""
        self.losses = 0
        """Attempts that ended because the slot vanished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Where the tasks of a stage may run, and what follows attempts that do not succeed."""

    retries: int = 0
    """Further attempts after a failed one."""
    losses: int = 3
    """Further attempts after lost ones: the task is `Lost` once its slots vanished once more."""
    pool: str | None = None
    """Pool of the slots that take its tasks; any slot does if None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one attempt ended without a value. Times are seconds since the epoch."""

    cause: Cause
    error: ErrorText
    started: float
    finished: float


@dataclass(frozen=True, slots=True)
class Open:
    """A stage begins."""

    stage: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Offer:
    """A stage has further tasks; all belong to it."""

    stage: str
    tasks: list[Task]


@dataclass(frozen=True, slots=True)
class Exhaust:
    """A stage will offer no further tasks."""

    stage: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """A stage is given up: what waits is dropped, what runs is killed."""

    stage: str


@dataclass(frozen=True, slots=True)
class Join:
    """A slot takes tasks from now on."""

    slot: str
    pool: str = CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A slot is gone with everything on it."""

    slot: str
    reason: str
    at: float
    """When it was noticed [s since the epoch]."""
    chunk: int | None = None
    """The chunk that ran, where the worker could tell."""
    index: int = 0
    """The task of that chunk that ran."""
    failure: Failure | None = None
    """Set where that task is to blame."""
    on_request: bool = False
    """The runner was ended by `Kill`: no attempt counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The next tasks of a chunk ended: columns of equal length, in the chunk's order."""

    slot: str
    chunk: int
    values: list[Any]
    started: list[float]
    finished: list[float]
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """By index into the columns."""
    stored: Mapping[int, Any] = field(default_factory=dict)
    """Values that are not plain, by index; opaque here."""


Stimulus = Open | Offer | Exhaust | Cancel | Join | Leave | Return
