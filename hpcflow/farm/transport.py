"""The seam between the dispatcher and the workers: what a transport does, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from hpcflow.core.instruction import Chunk
from hpcflow.core.stimulus import Join, Leave, Return
from hpcflow.errors import RequestError
from hpcflow.farm.wire import SlotInfo

TransportName = Literal["lanes", "tasks"]
"""Chunks by lanes (`hpcflow.farm.lanes`), or as Dask tasks (`hpcflow.farm.tasks`)."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A slot is up."""

    info: SlotInfo


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A slot will not come up: its setup or a preload fails."""

    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiskFull:
    """A runner could not store a value in the run directory."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unforeseen:
    """The transport itself failed."""

    reason: str


Report = Joined | GaveUp | DiskFull | Unforeseen | Join | Leave | Return
"""What the transport tells the dispatcher; `Join`, `Leave` and `Return` are its stimuli."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a stage does with its inputs."""

    number: int
    """The function's number on this farm."""
    blob: bytes
    """The pickled function."""
    limit_s: float | None


class Transport(Protocol):
    """How chunks reach slots and outcomes come back. All methods run on the farm's loop."""

    partial: bool
    """Whether outcomes come back before their chunk has ended; only then can it be recalled."""

    def add_worker(self, address: str, shard: int) -> None:
        """Start to use the slots of a worker, which belongs to a shard."""
        ...

    def remove_worker(self, address: str) -> None:
        """Dask has given the worker up."""
        ...

    def preload(self, name: str, blob: bytes) -> None:
        """Load an object in every runner, later ones included."""
        ...

    def send(self, slot: str, chunk: Chunk, call: Call) -> None:
        """Hand a chunk to a slot; it may wait for `flush`."""
        ...

    def flush(self) -> None:
        """Let go what has been sent."""
        ...

    def kill(self, slot: str, chunk: int) -> None:
        """End the slot's runner unless it is done with the chunk."""
        ...

    def recall(self, slot: str, chunk: int) -> None:
        """Let the slot start nothing more of the chunks up to this one; what runs goes on."""
        ...

    def forget(self, function: int) -> None:
        """Drop a function: its stage is over."""
        ...

    async def close(self) -> None:
        """Let go of every worker."""
        ...


def check_transport(name: str) -> None:
    """Refuse what is no transport.

    Raises
    ------
    RequestError
        If it is none.
    """
    names = get_args(TransportName)
    if name not in names:
        raise RequestError(
            f"cannot send chunks by {name!r}: a transport is {' or '.join(names)}. Correct"
            " `transport`, or leave it out."
        )
