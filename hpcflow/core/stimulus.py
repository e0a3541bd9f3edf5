"""What can happen to the dispatcher, and the values that it is told in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hpcflow.core.resources import CPU
from hpcflow.core.task import Cause, ErrorText


class Task(msgspec.Struct, eq=False, gc=False):
    """One function applied to one input: what the dispatcher moves around."""

    stage: str
    key: str
    payload: bytes
    """The pickled input; empty where `number` is the input."""
    created: float
    position: int = 0
    """Place among the tasks of its stage, from 0."""
    digest: str = ""
    """Content digest of the input where the key does not hold it."""
    known: bool = False
    """Whether an earlier session has offered it already."""
    number: float | None = None
    """The input itself where it is a number, a truth value or None: a chunk's are pickled together,
    when it is sent."""
    cost: float = 1.0
    """How long it takes, in any unit that is the same for all tasks of the stage."""
    priority: float = 0.0
    """Tasks with more go first."""
    attempt: int = 1
    """The try that is next or under way, from 1."""
    losses: int = 0
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
    ordered: bool = False
    """Whether its tasks have costs or priorities of their own."""
    longest_first: bool = False
    """Whether tasks that cost more go first, among those of one priority (Graham 1969)."""
    rank: int = 0
    """Stages of a higher rank are fed first: those whose tasks come of others' outcomes."""
    speculate: bool = False
    """Whether idle slots run duplicates of stragglers at its end; the first outcome wins."""
    mixed: bool = False
    """Whether its tasks are of different kinds, so that one says little of the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one attempt ended without a value. Times are seconds since the epoch."""

    cause: Cause
    error: ErrorText
    started: float
    finished: float


class Open(msgspec.Struct, frozen=True):
    """A stage begins."""

    stage: str
    policy: Policy


class Offer(msgspec.Struct, frozen=True):
    """A stage has further tasks; all belong to it."""

    stage: str
    tasks: Sequence[Task]


class Exhaust(msgspec.Struct, frozen=True):
    """A stage will offer no further tasks."""

    stage: str


class Cancel(msgspec.Struct, frozen=True):
    """A stage is given up: what waits is dropped, what runs is killed."""

    stage: str


class Join(msgspec.Struct, frozen=True):
    """A slot takes tasks from now on."""

    slot: str
    pool: str = CPU


class Leave(msgspec.Struct, frozen=True, kw_only=True):
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
    more: bool = False
    """Another slot leaves with it, and is told next: nothing is handed out in between."""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """The next tasks of a chunk ended: columns of equal length, in the chunk's order.

    None of them: the chunk had been recalled before its next task began.
    """

    slot: str
    chunk: int
    values: list[Any]
    started: list[float]
    finished: list[float]
    failures: Mapping[int, Failure] = {}
    """By index into the columns."""
    stored: Mapping[int, Any] = {}
    """Values that are not plain, by index; opaque here."""

    def first(self, count: int) -> Return:
        """Return the answer for the first `count` tasks alone."""
        return Return(
            slot=self.slot,
            chunk=self.chunk,
            values=self.values[:count],
            started=self.started[:count],
            finished=self.finished[:count],
            failures={n: failure for n, failure in self.failures.items() if n < count},
            stored={n: value for n, value in self.stored.items() if n < count},
        )


class Tick(msgspec.Struct, frozen=True):
    """Time goes by."""

    now: float
    """Any clock that does not go back [s]."""
    left_s: float = math.inf
    """Time until the wall time is over [s]."""


Stimulus = Open | Offer | Exhaust | Cancel | Join | Leave | Return | Tick
