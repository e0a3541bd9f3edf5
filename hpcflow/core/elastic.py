"""How many workers an elastic farm should have, as a state machine: a stimulus in, orders out.

It starts workers while tasks wait, retires idle ones when fewer would do, and replaces those that
end. It has no clock and starts nothing: it is told the time, and says what to do.

A worker may fail: its batch job is refused, or ends before the worker has joined or soon after. The
farm never answers that with a storm of submissions. A worker is *on probation* for `settle_s` after
it was started and, again, after it joined; only so many may be so at a time: as many as the budget,
and one more for each that is past it. After a failure the farm waits, twice as long after each, and
tries one worker at a time; when the budget is spent and no worker is left, it gives up. A worker
that joins after the last failure and stays for `settle_s` restores the budget.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an elastic farm may do."""

    minimum: int
    """Workers to have even if no task waits."""
    maximum: int
    """Most workers at a time, those that are being retired included."""
    slots: int
    """Slots of each worker."""
    idle_s: float = 60.0
    """How long fewer workers must do before one is retired [s]."""
    settle_s: float = 60.0
    """How long a worker is on probation [s]."""
    budget: int = 5
    """Failures in a row that are too many."""
    first_wait_s: float = 2.0
    """Wait after a failure [s]; each further one doubles it."""
    longest_wait_s: float = 300.0


# -- what happens


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    at: float
    """Now [s]."""
    demand: int
    """Slots that would have something to do."""
    workers: Mapping[str, bool]
    """Workers of which a slot takes tasks, and whether each is idle."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker is gone, or could not be started."""

    worker: str
    at: float
    why: str
    """In the words of the batch system, or of the worker."""


@dataclass(frozen=True, slots=True)
class Stays:
    """A worker that was to be retired has got a task, and stays."""

    worker: str


Stimulus = Tick | Ended | Stays


# -- what to do


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker."""

    worker: str


@dataclass(frozen=True, slots=True)
class Retire:
    """End a worker, unless it has got a task meanwhile."""

    worker: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No worker does well."""

    failures: int
    """In a row."""
    why: str
    """Why the last one failed."""


Order = Start | Retire | GiveUp


class _Stage(enum.Enum):
    STARTED = enum.auto()
    UP = enum.auto()
    LEAVING = enum.auto()


@dataclass(slots=True)
class _Worker:
    since: float
    """When it came to its stage [s]."""
    started: float
    stage: _Stage = _Stage.STARTED


class Elastic:
    """The workers of one farm, and how its starts have gone."""

    def __init__(self, bounds: Bounds) -> None:
        """Begin without workers."""
        self._bounds = bounds
        self._names = [f"w{number}" for number in range(1, bounds.maximum + 1)]
        self._workers: dict[str, _Worker] = {}
        self._failures = 0
        self._last_failure = float("-inf")
        self._surplus_since: float | None = None
        self._most_wanted = 0
        """Since then."""
        self._given_up = False

    @property
    def workers(self) -> list[str]:
        """Workers that were started and have not ended."""
        return list(self._workers)

    @property
    def failures(self) -> int:
        """Workers that have failed since one did well."""
        return self._failures

    def handle(self, stimulus: Stimulus) -> list[Order]:
        """Take in what happened and return what to do about it, in order."""
        match stimulus:
            case Tick():
                return [] if self._given_up else self._tick(stimulus)
            case Ended():
                return self._end(stimulus)
            case Stays(name):
                if name in self._workers:
                    self._workers[name].stage = _Stage.UP
                return []
            case _:
                assert_never(stimulus)

    # -- what becomes of workers

    def _end(self, ended: Ended) -> list[Order]:
        worker = self._workers.pop(ended.worker, None)
        if worker is None or worker.stage is _Stage.LEAVING:
            return []
        if worker.stage is _Stage.UP and self._settled(worker, ended.at):
            return []
        if worker.started > self._last_failure:  # else one that was started with it has told
            self._failures += 1
            self._last_failure = ended.at
        if self._failures < self._bounds.budget or self._workers:
            return []
        self._given_up = True
        return [GiveUp(self._failures, ended.why)]

    def _settled(self, worker: _Worker, at: float) -> bool:
        return at - worker.since >= self._bounds.settle_s

    def _look(self, tick: Tick) -> None:
        """Take note of who has joined, and of who has stayed."""
        for name in tick.workers:
            worker = self._workers.get(name)
            if worker is not None and worker.stage is _Stage.STARTED:
                worker.stage, worker.since = _Stage.UP, tick.at
        if any(self._restores(worker, tick.at) for worker in self._workers.values()):
            self._failures = 0

    def _restores(self, worker: _Worker, at: float) -> bool:
        """Whether a worker shows that workers do well again."""
        joined_since = worker.stage is _Stage.UP and worker.since > self._last_failure
        return joined_since and self._settled(worker, at)

    # -- how many there should be

    def _tick(self, tick: Tick) -> list[Order]:
        self._look(tick)
        here = [w for w in self._workers.values() if w.stage is not _Stage.LEAVING]
        needed = -(-tick.demand // self._bounds.slots)
        wanted = min(max(needed, self._bounds.minimum), self._bounds.maximum)
        if len(here) <= wanted:
            self._surplus_since = None
            return self._grow(wanted - len(here), tick.at)
        if self._surplus_since is None:
            self._surplus_since, self._most_wanted = tick.at, wanted
        self._most_wanted = max(self._most_wanted, wanted)
        if tick.at - self._surplus_since < self._bounds.idle_s:
            return []
        return self._shrink(len(here) - self._most_wanted, tick)

    def _grow(self, missing: int, at: float) -> list[Order]:
        free = [name for name in self._names if name not in self._workers]
        chosen = free[: min(missing, self._room(at))]
        for name in chosen:
            self._workers[name] = _Worker(since=at, started=at)
        return [Start(name) for name in chosen]

    def _room(self, at: float) -> int:
        """Return how many workers may be started now."""
        settled = sum(self._settled(worker, at) for worker in self._workers.values())
        if not self._failures:
            on_probation = len(self._workers) - settled
            return max(0, self._bounds.budget + settled - on_probation)
        if at - self._last_failure < self._wait_s:
            return 0
        return 0 if any(self._is_probe(worker, at) for worker in self._workers.values()) else 1

    def _is_probe(self, worker: _Worker, at: float) -> bool:
        """Whether a worker was started after the last failure, and is still to show itself."""
        waits = worker.stage is _Stage.STARTED and not self._settled(worker, at)
        return waits and worker.started > self._last_failure

    @property
    def _wait_s(self) -> float:
        """Wait after the last failure [s]."""
        doublings = min(self._failures - 1, 30)
        return min(self._bounds.first_wait_s * 2.0**doublings, self._bounds.longest_wait_s)

    def _shrink(self, surplus: int, tick: Tick) -> list[Order]:
        """Let go of workers that have not joined, the latest first, and then of idle ones."""
        latest_first = list(reversed(self._workers.items()))
        waiting = [name for name, worker in latest_first if worker.stage is _Stage.STARTED]
        idle = [
            name
            for name, worker in latest_first
            if worker.stage is _Stage.UP and tick.workers.get(name, False)
        ]
        chosen = [*waiting, *idle][:surplus]
        if len(chosen) == surplus:
            self._surplus_since = None
        for name in chosen:
            self._workers[name].stage = _Stage.LEAVING
        return [Retire(name) for name in chosen]
