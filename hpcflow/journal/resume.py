"""What a run has recorded so far, by task: what a resumed run replays instead of running."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from hpcflow.core.event import (
    AnyEvent,
    SessionOpened,
    SlotJoined,
    StageOpened,
    TaskFailed,
    TaskLost,
    TasksOffered,
    TasksSucceeded,
)
from hpcflow.core.task import AnyOutcome
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.outcome import outcomes_of, succeeded
from hpcflow.journal.reader import JournalReader, read_event

_LINES_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Line:
    """A final event's place in the file, and the slot's description at that time."""

    offset: int
    place: SlotJoined


@dataclass(slots=True)
class StageRecord:
    """One stage's tasks as the journal knows them."""

    opened: StageOpened
    keys: dict[int, str] = field(default_factory=dict)
    """Key of the task at each position."""
    digests: dict[str, str] = field(default_factory=dict)
    """Content digest of each task that the user named."""
    final: dict[str, tuple[_Line, int]] = field(default_factory=dict)
    """Where each task's outcome stands, in the order in which they were recorded."""


class Recorded:
    """A fold of a journal, with outcomes left in the file until they are asked for."""

    def __init__(self, directory: RunDirectory) -> None:
        """Read the journal, if there is one.

        Raises
        ------
        JournalError
            If it is damaged.
        """
        self._directory = directory
        self._places: dict[str, SlotJoined] = {}
        self._lines: OrderedDict[int, AnyEvent] = OrderedDict()
        self.stages: dict[str, StageRecord] = {}
        self.session: SessionOpened | None = None
        """The run's first session."""
        self.end = 0
        """Length of the journal's whole lines [bytes]."""
        if directory.journal.exists():
            reader = JournalReader(directory.journal)
            for offset, event in reader.poll_offsets():
                self._take(offset, event)
            self.end = reader.offset

    def _take(self, offset: int, event: AnyEvent) -> None:
        match event:
            case SessionOpened():
                self.session = self.session or event
            case SlotJoined():
                self._places[event.slot] = event
            case StageOpened():
                self.stages.setdefault(event.stage, StageRecord(event))
            case TasksOffered():
                stage = self.stages[event.stage]
                stage.keys.update(enumerate(event.keys, event.first))
                if event.digests:
                    stage.digests.update(zip(event.keys, event.digests, strict=True))
            case TasksSucceeded():
                line = _Line(offset, self._places[event.slot])
                final = self.stages[event.stage].final
                final.update((key, (line, index)) for index, key in enumerate(event.keys))
            case TaskFailed() | TaskLost():
                line = _Line(offset, self._places[event.slot])
                self.stages[event.stage].final[event.key] = (line, 0)
            case _:
                pass

    def outcome(self, stage: str, key: str) -> AnyOutcome | None:
        """Return the recorded outcome of a task, marked as replayed, or None."""
        record = self.stages.get(stage)
        found = None if record is None else record.final.get(key)
        if found is None:
            return None
        line, index = found
        event = self._event(line.offset)
        run: Path = self._directory.path
        if isinstance(event, TasksSucceeded):
            return succeeded(event, index, place=line.place, run=run, replayed=True)
        assert isinstance(event, TaskFailed | TaskLost), "only final events are indexed"
        return next(outcomes_of(event, line.place, run, replayed=True))

    def _event(self, offset: int) -> AnyEvent:
        event = self._lines.get(offset)
        if event is None:
            event = self._lines[offset] = read_event(self._directory.journal, offset)
            if len(self._lines) > _LINES_KEPT:
                self._lines.popitem(last=False)
        return event
