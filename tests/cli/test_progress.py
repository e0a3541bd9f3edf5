"""Progress as people see it: a bar on a terminal, lines elsewhere."""

import io
import os
import pty
from pathlib import Path
from typing import Any

from rich.console import Console

from hpcflow.cli.progress import Bar, Follower, Lines, Snapshot, display_for
from hpcflow.clock import ManualClock
from hpcflow.journal.directory import RunDirectory
from tests.journals import Script, write_run


def _snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "phase": "running",
        "now": 1000.0,
        "ended": 5,
        "total": 1234,
        "failed": 1,
        "running": 2,
        "rate": 2.5,
        "end": 1075.0,
    }
    return Snapshot(**{**values, **changes})


def test_a_snapshot_tells_failed_running_rate_and_estimated_end() -> None:
    words = _snapshot().words()
    assert words.startswith("1 failed, 2 running, 2.5/s, 1 min 15 s left, ends ")


def test_nothing_is_estimated_before_the_first_task_has_ended_or_after_the_last() -> None:
    assert _snapshot(rate=None, end=None).words() == "1 failed, 2 running"
    assert _snapshot(ended=1234).words() == "1 failed, 2 running"


def test_a_line_is_printed_every_few_seconds_at_most_and_at_the_end() -> None:
    file = io.StringIO()
    lines = Lines(file)
    for second in range(12):
        lines.show(_snapshot(now=1000.0 + second, ended=second))
    lines.show(_snapshot(now=1012.0, ended=12, phase="done"), last=True)
    ended = [line.split()[2] for line in file.getvalue().splitlines()]
    assert ended == ["0/1,234", "5/1,234", "10/1,234", "12/1,234"]


def test_lines_are_rare_while_nothing_changes() -> None:
    file = io.StringIO()
    lines = Lines(file)
    for second in range(600):
        lines.show(_snapshot(now=1000.0 + second))
    assert len(file.getvalue().splitlines()) == 2


def test_a_bar_shows_the_same_and_notes_stay_above_it() -> None:
    file = io.StringIO()
    bar = Bar(Console(file=file, force_terminal=True, width=100, color_system=None))
    bar.note("failed: [x] 1")
    bar.show(_snapshot(), last=True)
    bar.close()
    assert "failed: [x] 1\n" in file.getvalue()
    assert "5/1,234 1 failed, 2 running, 2.5/s" in file.getvalue()


def test_a_terminal_gets_a_bar_and_everything_else_lines(monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as terminal:
        display = display_for(terminal)
        display.close()
    assert isinstance(display, Bar)
    assert isinstance(display_for(io.StringIO()), Lines)


def test_a_follower_folds_the_journal_that_appears_and_grows(tmp_path: Path) -> None:
    script = Script().session(1).stage(1).joined(1).offered(1, "x", "y", "z").sent(1, "x", "y")
    file = io.StringIO()
    with Follower(RunDirectory(tmp_path), file, total=3, clock=ManualClock(10.0)) as follower:
        write_run(tmp_path, script.events)
        write_run(tmp_path, script.ran(2, [("x", 1, 2)]).events)
        follower.note("a note")
    lines = file.getvalue().splitlines()
    assert "a note" in lines
    assert "running: 1/3 done, 0 failed, 1 running" in lines[-1]


def test_a_damaged_journal_ends_the_display_and_not_the_run(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.journal.write_text("damaged\n" * 2)
    file = io.StringIO()
    with Follower(directory, file, total=3, clock=ManualClock()):
        pass
    assert file.getvalue().startswith("no progress is shown from here on: cannot read journal")
