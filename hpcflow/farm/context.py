"""What a task function can ask while it runs: who it is, where it may write, what was preloaded."""

from __future__ import annotations

import functools
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hpcflow.core.numbered import Numbered
from hpcflow.core.task import task_seed
from hpcflow.errors import FarmError
from hpcflow.farm.wire import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerContext:
    """What all tasks of one runner share."""

    slot: str
    device: str
    cores: tuple[int, ...]
    run_seed: int
    run_directory: Path | None
    scratch: Path
    ends_at: float | None
    """When the batch job's wall time is over [s since the epoch]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """The running task, as `current_task` returns it."""

    key: str
    stage: str
    attempt: int
    """Which try this is, from 1."""
    started: float
    """When it started [s, monotonic]."""
    time_limit_s: float | None
    runner: RunnerContext

    @property
    def slot(self) -> str:
        """Name of the slot it runs on."""
        return self.runner.slot

    @property
    def device(self) -> str:
        """What the slot is pinned to: `cpu`, or its GPU."""
        return self.runner.device

    @property
    def cores(self) -> tuple[int, ...]:
        """Logical cores that the slot may use."""
        return self.runner.cores

    @property
    def run_directory(self) -> Path | None:
        """The run directory, or None where the farm keeps no run."""
        return self.runner.run_directory

    @property
    def seed(self) -> int:
        """Random seed of the task [0, 2**63): from run seed, stage and key alone."""
        return task_seed(self.runner.run_seed, self.stage, self.key)

    @property
    def directory(self) -> Path:
        """The task's own work directory, made at the first access.

        `tasks/<stage>/<key>` in the run directory: a further attempt, or a resumed run, finds what
        the one before left. Without a run it is a temporary one that goes with the farm.
        """
        if self.runner.run_directory is None:
            path = self.runner.scratch / "tasks" / self.stage / self.key
        else:
            path = self.runner.run_directory / "tasks" / self.stage / self.key
        for directory in (path.parent, path):  # `parents=True` would leave the first to the umask
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def time_left_s(self) -> float | None:
        """Return the time until the task is killed [s], or None where nothing limits it.

        That is its time limit or the end of the batch job's wall time, whichever comes first.
        """
        left = []
        if self.time_limit_s is not None:
            left.append(self.started + self.time_limit_s - time.monotonic())
        if self.runner.ends_at is not None:
            left.append(self.runner.ends_at - time.time())
        return min(left, default=None)


class RunningChunk:
    """The chunk that a runner has under way, and how far it has come."""

    def __init__(self, work: Work, started: float) -> None:
        """Begin with the chunk's first task, which starts at `started` [s, monotonic]."""
        self.work = work
        self.laps = [started]
        """When the first task started and each so far ended [s, monotonic]; only ever longer."""

    def task(self, runner: RunnerContext) -> TaskContext:
        """Return the task that runs now: the first one that has not ended."""
        return TaskContext(
            key=self.keys[len(self.laps) - 1],
            stage=self.work.stage,
            attempt=self.work.attempt,
            started=self.laps[-1],
            time_limit_s=self.work.limit_s,
            runner=runner,
        )

    @functools.cached_property
    def keys(self) -> list[str]:
        """The tasks' names, opened when the first of them is asked for: most tasks never do."""
        work = self.work
        keys = msgspec.msgpack.decode(work.keys, type=list[str] | None)
        if keys is not None:
            return keys
        return Numbered(work.stage, work.first, values=pickle.loads(work.values), created=[]).keys


class _Current:
    """What the runner has under way; it sets the chunk around the chunk's tasks."""

    runner: RunnerContext | None = None
    chunk: RunningChunk | None = None

    def __init__(self) -> None:
        self.preloads: dict[str, Any] = {}


current = _Current()


def current_task() -> TaskContext:
    """Return the task that calls this.

    Raises
    ------
    FarmError
        Outside a task.
    """
    runner, chunk = current.runner, current.chunk
    if runner is None or chunk is None:
        raise FarmError(
            "cannot tell the current task: this code does not run in a task. Call current_task()"
            " from the function given to map or stream."
        )
    return chunk.task(runner)


def preloaded(name: str) -> Any:
    """Return the object that `farm.preload(name, ...)` loaded in this runner.

    Raises
    ------
    FarmError
        If nothing was preloaded under that name, or outside a runner.
    """
    try:
        return current.preloads[name]
    except KeyError:
        known = ", ".join(sorted(current.preloads)) or "nothing"
        raise FarmError(
            f"cannot find preload {name!r}: this process has {known}. Call"
            f" farm.preload({name!r}, load) before map or stream."
        ) from None
