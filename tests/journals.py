"""Journals written by hand: the events of runs that never happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcflow.core.event import (
    AnyEvent,
    AttemptFailed,
    AttemptLost,
    ChunkSent,
    SessionClosed,
    SessionOpened,
    SlotJoined,
    SlotLost,
    StageClosed,
    StageOpened,
    TaskFailed,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.task import Cause, ErrorText
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.format import encode_line


@dataclass(slots=True)
class Script:
    """Writes events down in order; times are seconds, whatever the epoch."""

    events: list[AnyEvent] = field(default_factory=list)
    chunks: int = 0
    positions: dict[str, int] = field(default_factory=dict)

    def session(
        self, at: float, *, slots: int = 1, pid: int = 4242, elastic: bool = False
    ) -> Script:
        return self._add(
            SessionOpened(
                at=at,
                run_id="r-1",
                seed=7,
                hpcflow="0.1.0",
                python="3.11.7",
                host="login1",
                pid=pid,
                slots=slots,
                elastic=elastic,
            )
        )

    def close(self, at: float, reason: str = "finished") -> Script:
        return self._add(SessionClosed(at=at, reason=reason))

    def stage(
        self, at: float, stage: str = "simulate", *, kind: str = "map", total: int | None = None
    ) -> Script:
        return self._add(
            StageOpened(at=at, stage=stage, kind=kind, function="f", fingerprint="0f", total=total)
        )

    def stage_closed(
        self, at: float, stage: str = "simulate", *, offered: int, cancelled: bool = False
    ) -> Script:
        return self._add(StageClosed(at=at, stage=stage, offered=offered, cancelled=cancelled))

    def joined(self, at: float, slot: str = "a", *, preload_s: float = 0.0) -> Script:
        return self._add(
            SlotJoined(
                at=at,
                slot=slot,
                host="node1",
                worker="w0",
                pid=99,
                device="cpu",
                cores=(0, 1),
                booted=at - preload_s,
                preload_s=preload_s,
            )
        )

    def slot_lost(self, at: float, slot: str = "a", *, reason: str = "killed") -> Script:
        return self._add(SlotLost(at=at, slot=slot, reason=reason))

    def offered(self, at: float, *keys: str, stage: str = "simulate") -> Script:
        first = self.positions.get(stage, 0)
        self.positions[stage] = first + len(keys)
        return self._add(TasksOffered(at=at, stage=stage, first=first, keys=list(keys)))

    def sent(
        self, at: float, *keys: str, slot: str = "a", stage: str = "simulate", attempt: int = 1
    ) -> Script:
        self.chunks += 1
        return self._add(
            ChunkSent(
                at=at, chunk=self.chunks, stage=stage, slot=slot, attempt=attempt, keys=list(keys)
            )
        )

    def ran(
        self,
        at: float,
        times: Sequence[tuple[str, float, float]],
        *,
        slot: str = "a",
        stage: str = "simulate",
        attempt: int = 1,
        values: Sequence[Any] | None = None,
    ) -> Script:
        """`times` holds key, started and finished of each task that succeeded."""
        return self._add(
            TasksSucceeded(
                at=at,
                stage=stage,
                slot=slot,
                attempt=attempt,
                submitted=times[0][1],
                keys=[key for key, _, _ in times],
                values=list(values) if values is not None else [None] * len(times),
                created=[started for _, started, _ in times],
                started=[started for _, started, _ in times],
                finished=[finished for _, _, finished in times],
            )
        )

    def failed(
        self,
        at: float,
        key: str,
        times: tuple[float, float],
        *,
        slot: str = "a",
        stage: str = "simulate",
        attempt: int = 1,
        again: bool = False,
        message: str = "no force field",
    ) -> Script:
        """`times` holds started and finished; `again` says that the task is tried again."""
        kind = AttemptFailed if again else TaskFailed
        return self._add(
            kind(
                at=at,
                stage=stage,
                key=key,
                slot=slot,
                attempt=attempt,
                created=times[0],
                submitted=times[0],
                started=times[0],
                finished=times[1],
                cause=Cause.EXCEPTION,
                error=ErrorText(type="ValueError", message=message, traceback="Traceback"),
            )
        )

    def attempt_lost(
        self, at: float, key: str, *, slot: str = "a", stage: str = "simulate", attempt: int = 1
    ) -> Script:
        """The driver does not know when a vanished attempt started."""
        return self._add(
            AttemptLost(
                at=at,
                stage=stage,
                key=key,
                slot=slot,
                attempt=attempt,
                created=at,
                submitted=at,
                started=at,
                finished=at,
                cause=Cause.SLOT_LOST,
                error=ErrorText(type="SlotLost", message="slot a vanished", traceback=""),
            )
        )

    def _add(self, event: AnyEvent) -> Script:
        self.events.append(event)
        return self


def write_run(path: Path, events: Iterable[AnyEvent], *, toml: str | None = None) -> RunDirectory:
    """Make a run directory at `path` whose journal holds `events`."""
    directory = RunDirectory(path)
    directory.create()
    directory.journal.write_bytes(b"".join(map(encode_line, events)))
    if toml is not None:
        directory.run_toml.write_text(toml)
    return directory
