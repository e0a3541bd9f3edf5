"""Prove from the journal that no task was lost or recorded twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hpcflow.core.event import (
    FINISHED,
    SessionClosed,
    SessionOpened,
    StageClosed,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.payload import check_payload
from hpcflow.journal.reader import JournalReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One task, or one stage, for which the promise does not hold."""

    stage: str
    key: str | None
    """None where the whole stage is concerned."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the journal proves."""

    offered: int
    succeeded: int
    failed: int
    lost: int
    cancelled: int
    """Tasks of cancelled stages that were given up before they ended."""
    sessions: int
    finished: bool
    """Whether the last driver ended by itself, and not by a signal or an error."""
    problems: list[Problem] = field(default_factory=list)
    """Empty where every task offered has exactly one recorded outcome."""

    @property
    def complete(self) -> bool:
        """Whether the run needs no resuming: its driver finished, and nothing is missing."""
        return self.finished and not self.problems


@dataclass(slots=True)
class _Stage:
    offered: Counter[str] = field(default_factory=Counter)
    final: Counter[str] = field(default_factory=Counter)
    closed: StageClosed | None = None


class _Audit:
    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._stages: dict[str, _Stage] = {}
        self._counts: Counter[str] = Counter()
        self._sessions = 0
        self._finished = False
        self._problems: list[Problem] = []

    def run(self) -> Verdict:
        reader = JournalReader(self._directory.journal)
        for event in reader.poll():
            match event:
                case SessionOpened():
                    self._sessions += 1
                    self._finished = False
                case SessionClosed():
                    self._finished = event.reason == FINISHED
                case StageOpened():
                    self._stages.setdefault(event.stage, _Stage()).closed = None
                case StageClosed():
                    self._stages[event.stage].closed = event
                case TasksOffered():
                    self._stages[event.stage].offered.update(event.keys)
                case TasksSucceeded():
                    self._stages[event.stage].final.update(event.keys)
                    self._counts["succeeded"] += len(event.keys)
                    self._check_payloads(event)
                case TaskFailed():
                    self._end(event.stage, event.key, "failed")
                case TaskLost():
                    self._end(event.stage, event.key, "lost")
                case _:
                    pass
        for name, stage in self._stages.items():
            self._judge(name, stage)
        return Verdict(
            offered=sum(len(stage.offered) for stage in self._stages.values()),
            succeeded=self._counts["succeeded"],
            failed=self._counts["failed"],
            lost=self._counts["lost"],
            cancelled=self._counts["cancelled"],
            sessions=self._sessions,
            finished=self._finished,
            problems=self._problems,
        )

    def _end(self, stage: str, key: str, how: str) -> None:
        self._stages[stage].final[key] += 1
        self._counts[how] += 1

    def _check_payloads(self, event: TasksSucceeded) -> None:
        for index, ref in event.payloads.items():
            problem = check_payload(self._directory.path, ref)
            if problem is not None:
                self._report(event.stage, event.keys[index], problem)

    def _judge(self, name: str, stage: _Stage) -> None:
        cancelled = stage.closed is not None and stage.closed.cancelled
        for key, times in stage.offered.items():
            if times > 1:
                self._report(name, key, f"offered {times} times")
            if key in stage.final:
                continue
            if cancelled:
                self._counts["cancelled"] += 1
            else:
                self._report(name, key, "no recorded outcome")
        for key, times in stage.final.items():
            if times > 1:
                self._report(name, key, f"{times} recorded outcomes")
            if key not in stage.offered:
                self._report(name, key, "an outcome, but never offered")
        if stage.closed is None:
            self._report(name, None, "not finished: more tasks may be offered when it is resumed")
        elif not cancelled and stage.closed.offered != len(stage.offered):
            self._report(
                name, None, f"{stage.closed.offered} tasks at its end, {len(stage.offered)} offered"
            )

    def _report(self, stage: str, key: str | None, what: str) -> None:
        self._problems.append(Problem(stage=stage, key=key, what=what))


def verify(directory: RunDirectory) -> Verdict:
    """Check that every task offered has exactly one recorded outcome, none lost, none doubled.

    Values in payload files are checked against their digests; none is opened.

    Raises
    ------
    JournalError
        If the journal cannot be read or is damaged.
    """
    return _Audit(directory).run()
