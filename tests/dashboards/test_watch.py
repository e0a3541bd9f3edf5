from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from hpcflow.clock import ManualClock
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.terminal import console_for
from hpcflow.dashboards.watch import watch
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.format import encode_line
from hpcflow.journal.lock import RunLock
from tests.journals import Script, write_run


def begun() -> Script:
    return Script().session(0).joined(1).stage(1, total=2).offered(1, "k0", "k1").sent(2, "k0")


class Driver:
    """Goes on with the run whenever the watcher waits."""

    def __init__(self, directory: RunDirectory, steps: list[Script]) -> None:
        self.clock = ManualClock(start=3.0)
        self.lock: RunLock | None = RunLock.acquire(directory)
        self.journal = directory.journal
        self.steps = steps

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.steps:
            with self.journal.open("ab") as journal:
                journal.writelines(map(encode_line, self.steps.pop(0).events))
        elif self.lock is not None:
            self.lock.release()
            self.lock = None


def lines(tmp_path: Path, steps: list[Script]) -> list[str]:
    directory = write_run(tmp_path / "r", begun().events)
    driver = Driver(directory, steps)
    text = io.StringIO()
    console = console_for(text)
    watch(RunSource.open(directory.path), console, clock=driver.clock, wait=driver.wait)
    return text.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_whenever_something_changed(tmp_path: Path) -> None:
    ran = Script().ran(4, [("k0", 2, 4)])
    done = Script().ran(9, [("k1", 4, 9)]).close(9)
    said = lines(tmp_path, [ran, Script(), Script(), done])
    assert [line.partition(" ")[2].partition(",")[0] for line in said] == [
        "running: 0 of 2 tasks ended",
        "running: 1 of 2 tasks ended",
        "finished: 2 of 2 tasks ended",
    ]


def test_it_ends_when_the_driver_is_gone_and_says_how_to_go_on(tmp_path: Path) -> None:
    said = lines(tmp_path, [])
    assert "killed" in said[-2]
    assert said[-1].startswith("to continue: ")


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", begun().events)
    lock = RunLock.acquire(directory)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    clock = ManualClock(start=3.0)
    said = io.StringIO()
    watch(RunSource.open(directory.path), console_for(said), clock=clock, wait=interrupt)
    lock.release()
    assert said.getvalue()
    assert "Traceback" not in said.getvalue()


def test_a_terminal_shows_the_picture_and_keeps_the_last_one(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", begun().events)
    driver = Driver(directory, [Script().ran(4, [("k0", 2, 4)]).close(5, "interrupted")])
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=40, highlight=False)
    watch(RunSource.open(directory.path), console, clock=driver.clock, wait=driver.wait)
    assert "0 of 2 ended, 1 running" in text.getvalue()
    last = text.getvalue().rpartition("1 of 2 ended")[2]
    assert "to continue" in last
    if driver.lock is not None:
        driver.lock.release()
