"""How many tasks of each stage wait for a slot, as the events tell it."""

from __future__ import annotations

from dataclasses import dataclass

from hpcflow.core.event import StageClosed


@dataclass(slots=True)
class _Stage:
    known: int = 0
    """Tasks that the stage is known to have."""
    offered: int = 0
    ended: int = 0
    """Tasks that have their outcome."""
    waiting: int = 0
    """Known to this session, and not run in it; an attempt under way still counts."""
    open: bool = False
    cancelled: bool = False


class Demand:
    """Counts by stage. Each method returns by how much the number of waiting tasks changed."""

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    @property
    def any_open(self) -> bool:
        """Whether a stage of this session may still offer tasks."""
        return any(stage.open for stage in self._stages.values())

    def begin_session(self) -> None:
        """Begin anew: a session knows only the tasks of the stages that it opens."""
        for stage in self._stages.values():
            stage.waiting = 0
            stage.open = False

    def open(self, name: str, total: int | None) -> int:
        """Take note of an opened stage: its tasks without outcome wait."""
        stage = self._stages.setdefault(name, _Stage())
        stage.open, stage.cancelled = True, False
        stage.known = max(stage.known, total or 0)
        return self._wait(stage, stage.known - stage.ended - stage.waiting)

    def offer(self, name: str, count: int) -> int:
        """Take note of offered tasks; those of a known total have waited already."""
        stage = self._stages.setdefault(name, _Stage())
        stage.offered += count
        new = max(0, stage.offered - stage.known)
        stage.known += new
        return self._wait(stage, new)

    def ended(self, name: str, count: int, *, final: bool) -> bool:
        """Take note of attempts that ended, and return whether their tasks wait again.

        Their own share of the demand is known to the caller, who has the stamps.
        """
        stage = self._stages.setdefault(name, _Stage())
        again = not final and not stage.cancelled
        if final:
            stage.ended += count
        if not again:
            stage.waiting -= count
        return again

    def close(self, event: StageClosed, *, running: int) -> int:
        """Take note of a closed stage.

        A cancelled one drops its waiting tasks, but for the `running` ones, which are accounted
        for when they end.
        """
        stage = self._stages.setdefault(event.stage, _Stage())
        stage.open = False
        if event.cancelled:
            stage.cancelled = True
            return self._wait(stage, running - stage.waiting)
        surplus = stage.known - max(event.offered, stage.offered)
        if surplus <= 0:
            return 0
        stage.known -= surplus
        return self._wait(stage, -surplus)

    @staticmethod
    def _wait(stage: _Stage, change: int) -> int:
        stage.waiting += change
        return change
