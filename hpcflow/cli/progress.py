"""How a run goes on, told while it does: a bar on a terminal, a line now and then elsewhere.

What is shown is a fold of the journal, read by a thread of its own: the driver's loop is never
slowed, and retries, replayed outcomes and lost slots are counted as every other command counts
them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from hpcflow.clock import Clock
from hpcflow.core.state import RunState
from hpcflow.dashboards import text
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import JournalReader

_POLL_S = 0.25
_LINE_EVERY_S = 5.0
_LINE_AT_LEAST_EVERY_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a display shows at one moment."""

    phase: str
    """What the driver is at, such as `starting`."""
    now: float
    """[s since the epoch]"""
    ended: int
    """Tasks that have their outcome, failed and lost ones included."""
    total: int
    failed: int
    """Tasks that failed or were lost."""
    running: int
    rate: float | None
    """Tasks that end in a second, lately [1/s]."""
    end: float | None
    """When the last task is likely to have ended [s since the epoch]."""

    def words(self) -> str:
        """Return everything but phase and number of tasks, as one phrase."""
        parts = [f"{text.count(self.failed)} failed", f"{text.count(self.running)} running"]
        if self.rate is not None and self.ended < self.total:
            parts.append(text.rate(self.rate))
        if self.end is not None and self.ended < self.total:
            left = text.duration(max(1.0, round(self.end - self.now)))
            parts.append(f"{left} left, ends {text.clock_time(self.end, self.now)}")
        return ", ".join(parts)


class Display(Protocol):
    """Where snapshots go."""

    def show(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """Show a snapshot, at the display's own discretion unless it is the last."""
        ...

    def note(self, line: str) -> None:
        """Print a line that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Bar:
    """A bar that is drawn in place, for terminals."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            expand=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("starting", total=0, words="")
        self._progress.start()

    def show(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """Draw the bar."""
        self._progress.update(
            self._task,
            description=snapshot.phase,
            completed=snapshot.ended,
            total=snapshot.total,
            words=snapshot.words(),
            refresh=last,
        )

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Stop drawing; the bar stays as it was last."""
        self._progress.stop()


class Lines:
    """A line every few seconds in which something changed, for files and pipes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._shown: Snapshot | None = None

    def show(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """Print the snapshot if it is time."""
        if last or self._is_due(snapshot):
            self._shown = snapshot
            done = f"{text.count(snapshot.ended)}/{text.count(snapshot.total)} done"
            moment = text.clock_time(snapshot.now, snapshot.now)
            self.note(f"{moment} {snapshot.phase}: {done}, {snapshot.words()}")

    def _is_due(self, snapshot: Snapshot) -> bool:
        shown = self._shown
        if shown is None:
            return True
        since_s = snapshot.now - shown.now
        changed = (snapshot.ended, snapshot.running) != (shown.ended, shown.running)
        return since_s >= (_LINE_EVERY_S if changed else _LINE_AT_LEAST_EVERY_S)

    def note(self, line: str) -> None:
        """Print a line."""
        print(line, file=self._file, flush=True)

    def close(self) -> None:
        """There is nothing to restore."""


def display_for(file: TextIO) -> Display:
    """Return the display that suits `file`."""
    console = Console(file=file, highlight=False)
    if file.isatty() and not console.is_dumb_terminal:
        return Bar(console)
    return Lines(file)


class Follower:
    """Follows a run's journal and keeps a display up to date, from entry to exit."""

    def __init__(self, directory: RunDirectory, file: TextIO, *, total: int, clock: Clock) -> None:
        """Prepare to follow.

        Parameters
        ----------
        directory
            The run; it may not exist yet.
        file
            Where to show it; a terminal gets a bar.
        total
            Number of tasks of the run.
        clock
            What time it is.
        """
        self.phase = "starting"
        """What the driver is at; set by the driver."""
        self.state = RunState()
        """What the journal says so far."""
        self._reader = JournalReader(directory.journal)
        self._file = file
        self._display: Display | None = None
        self._total = total
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._display = display_for(self._file)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._shown_on.close()

    def note(self, line: str) -> None:
        """Print a line that stays."""
        self._shown_on.note(line)

    @property
    def _shown_on(self) -> Display:
        assert self._display is not None, "it is there from entry to exit"
        return self._display

    def _follow(self) -> None:
        display = self._shown_on
        try:
            stopped = False
            while not stopped:
                self._poll()
                display.show(self._snapshot())
                stopped = self._stop.wait(_POLL_S)
            self._poll()
        except JournalError as error:
            display.note(f"no progress is shown from here on: {error}")
        else:
            display.show(self._snapshot(), last=True)

    def _poll(self) -> None:
        if self._reader.path.exists():
            for event in self._reader.poll():
                self.state.apply(event)
        if self.phase == "starting" and self.state.slots_up:
            self.phase = "running"

    def _snapshot(self) -> Snapshot:
        now = self._clock.now()
        return Snapshot(
            phase=self.phase,
            now=now,
            ended=self.state.ended,
            total=max(self._total, self.state.ended),
            failed=self.state.failed + self.state.lost,
            running=self.state.running,
            rate=self.state.rate(now),
            end=self.state.estimated_end(now, total=self._total),
        )
