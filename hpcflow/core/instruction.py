"""What the dispatcher wants done."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from hpcflow.core.stimulus import Failure, Task


class Chunk(msgspec.Struct, eq=False):
    """Tasks of one stage and one attempt number that travel together."""

    number: int
    stage: str
    attempt: int
    tasks: list[Task]
    keys: list[str]
    submitted: float = 0.0
    """When it was sent [s since the epoch]; set by whoever sends it."""


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a chunk to a slot."""

    slot: str
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Kill:
    """End the slot's runner unless it is done with the chunk. The slot will leave and rejoin."""

    slot: str
    chunk: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Let the slot start nothing more of the chunks up to this one; what runs goes on."""

    slot: str
    chunk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Final: these tasks succeeded, in columns."""

    slot: str
    chunk: Chunk
    tasks: list[Task]
    values: list[Any]
    started: list[float]
    finished: list[float]
    stored: Mapping[int, Any]


class Verdict(enum.Enum):
    """What an attempt without a value means for its task."""

    FAILED = enum.auto()
    """Final: to blame, and no retries left."""
    LOST = enum.auto()
    """Final: its slots vanished too many times."""
    RETRY = enum.auto()
    """To blame; tried again."""
    RELOCATE = enum.auto()
    """Its slot vanished; runs again."""


@dataclass(frozen=True, slots=True)
class SettleFailure:
    """An attempt ended without a value; `attempt` is the one that did."""

    slot: str
    chunk: Chunk
    task: Task
    attempt: int
    failure: Failure
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Finish:
    """Every task of the stage is settled, and no more will come."""

    stage: str


Instruction = Send | Kill | Recall | Settle | SettleFailure | Finish
