"""What the dispatcher wants done."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hpcflow.core.numbered import keys_of
from hpcflow.core.stimulus import Failure, Task


class Chunk(msgspec.Struct, eq=False):
    """Tasks of one stage and one attempt number that travel together."""

    number: int
    stage: str
    attempt: int
    tasks: Sequence[Task]
    submitted: float = 0.0
    """When it was sent [s since the epoch]; set by whoever sends it."""

    @property
    def keys(self) -> list[str]:
        """The tasks' names."""
        return keys_of(self.tasks)


class Send(msgspec.Struct, frozen=True):
    """Hand a chunk to a slot."""

    slot: str
    chunk: Chunk


class Kill(msgspec.Struct, frozen=True):
    """End the slot's runner unless it is done with the chunk. The slot will leave and rejoin."""

    slot: str
    chunk: int


class Recall(msgspec.Struct, frozen=True):
    """Let the slot start nothing more of the chunks up to this one; what runs goes on."""

    slot: str
    chunk: int


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Final: these tasks succeeded, in columns."""

    slot: str
    chunk: Chunk
    tasks: Sequence[Task]
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


class SettleFailure(msgspec.Struct, frozen=True):
    """An attempt ended without a value; `attempt` is the one that did."""

    slot: str
    chunk: Chunk
    task: Task
    attempt: int
    failure: Failure
    verdict: Verdict


class Finish(msgspec.Struct, frozen=True):
    """Every task of the stage is settled, and no more will come."""

    stage: str


Instruction = Send | Kill | Recall | Settle | SettleFailure | Finish
