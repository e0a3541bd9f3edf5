"""Follow a run in the terminal until it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live

from hpcflow.clock import Clock
from hpcflow.dashboards.source import RunSource
from hpcflow.dashboards.status import Status, status_of
from hpcflow.dashboards.terminal import line, picture

LIVE_EVERY_S = 0.5
"""Time between two looks where a terminal shows the picture [s]."""
LINES_EVERY_S = 5.0
"""Time between two looks where lines are printed [s]."""
_OTHER_ROWS = 18
"""Rows of the picture besides slots and failures, roughly."""


def watch(
    source: RunSource, console: Console, *, clock: Clock, wait: Callable[[float], None]
) -> None:
    """Show the run until it ends or the user interrupts.

    Parameters
    ----------
    source
        The run.
    console
        Where to: a terminal gets a picture that is renewed, anything else a line whenever
        something has changed.
    clock
        Tells the time.
    wait
        Returns after so many seconds.

    Raises
    ------
    JournalError
        If the journal cannot be read any more, or is damaged.
    """
    with suppress(KeyboardInterrupt):
        if console.is_terminal:
            _show_picture(source, console, clock=clock, wait=wait)
        else:
            _print_lines(source, console, clock=clock, wait=wait)


def _show_picture(
    source: RunSource, console: Console, *, clock: Clock, wait: Callable[[float], None]
) -> None:
    status = status_of(source, now=clock.now())
    if source.live:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while source.live:
                live.update(_fitted(status, console), refresh=True)
                wait(LIVE_EVERY_S)
                source.refresh()
                status = status_of(source, now=clock.now())
    console.print(picture(status))


def _fitted(status: Status, console: Console) -> Group:
    rows = max(6, console.height - _OTHER_ROWS - len(status.stages))
    failures = min(len(status.failures), rows // 3)
    return picture(status, most_slots=rows - failures, most_failures=max(1, failures))


def _print_lines(
    source: RunSource, console: Console, *, clock: Clock, wait: Callable[[float], None]
) -> None:
    changed = True
    while True:
        if changed or not source.live:
            console.print(line(status_of(source, now=clock.now())), markup=False, soft_wrap=True)
        if not source.live:
            break
        wait(LINES_EVERY_S)
        changed = source.refresh()
    if source.resume is not None:
        console.print(f"to continue: {source.resume}", markup=False, soft_wrap=True)
