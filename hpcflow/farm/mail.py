"""What the driver's threads put into the dispatcher's mailbox, and what they learn of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hpcflow.core.stimulus import Tick
from hpcflow.errors import HpcflowError
from hpcflow.farm.request import StageRequest
from hpcflow.farm.stage import Inbox, Tray


@dataclass(frozen=True, slots=True)
class OpenStage:
    """Begin a stage."""

    request: StageRequest
    inbox: Inbox
    tray: Tray
    """Its tasks, as they are given."""
    grant: Callable[[int], None]
    """Called on the loop with the number of further tasks that are wanted."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Give:
    """There are tasks on a stage's tray."""

    stage: str


@dataclass(frozen=True, slots=True)
class EndStage:
    """No further task of a stage will be given; `count` have been."""

    stage: str
    count: int


@dataclass(frozen=True, slots=True)
class CancelStage:
    """A stage's outcomes are no longer wanted."""

    stage: str
    count: int
    for_good: bool
    """Whether the journal says so; else the stage is left to be resumed."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Load an object in every runner."""

    name: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class Worker:
    """Dask has gained or given up a worker."""

    address: str
    up: bool
    shard: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The farm cannot go on."""

    error: HpcflowError


@dataclass(frozen=True, slots=True)
class Nudge:
    """The driver has caught up with its outcomes."""


Request = OpenStage | Give | EndStage | CancelStage | Preload | Worker | Broken | Nudge | Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A farm at one instant. Tasks are counted in this session; replayed ones apart."""

    slots: int
    """Slots that take tasks now."""
    offered: int
    """Tasks read from iterables or submitted to streams."""
    succeeded: int
    failed: int
    lost: int
    retried: int
    """Attempts that failed or were lost and led to another one."""
    in_flight: int
    """Tasks offered and not settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an elastic farm is to be fitted to."""

    demand: int
    """Slots that would have something to do."""
    workers: Mapping[str, bool]
    """Workers of which a slot takes tasks, by name, and whether each is idle."""
