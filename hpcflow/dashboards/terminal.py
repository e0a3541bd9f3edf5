"""A run's status as a terminal shows it: rich tables, plain where nobody looks at a terminal."""

from __future__ import annotations

from typing import IO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpcflow.dashboards import text
from hpcflow.dashboards.source import Phase
from hpcflow.dashboards.status import BatchJob, Failure, Slot, Stage, Status

PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""
MOST_SLOTS = 32
"""Slots listed one by one unless asked for more or fewer."""
MOST_CORES = 4
"""Cores listed one by one."""

_PHASE_STYLE = {
    Phase.RUNNING: "bold green",
    Phase.FINISHED: "bold cyan",
    Phase.INTERRUPTED: "bold yellow",
    Phase.OUT_OF_TIME: "bold yellow",
    Phase.EMPTY: "bold yellow",
    Phase.ERROR: "bold red",
    Phase.KILLED: "bold red",
}


def console_for(file: IO[str]) -> Console:
    """Return a console on `file`; wide and without colours where that is no terminal."""
    return Console(file=file, highlight=False, width=None if file.isatty() else PLAIN_WIDTH)


def picture(status: Status, *, most_slots: int = MOST_SLOTS, most_failures: int = 10) -> Group:
    """Return everything that `hpcflow status` shows.

    Parameters
    ----------
    status
        The run.
    most_slots, most_failures
        Rows of these tables; what is left out is counted.
    """
    parts: list[RenderableType] = [_heading(status), _progress(status)]
    if status.stages:
        parts += ["", _stages(status.stages)]
    if status.slots:
        parts += ["", _slots(status, most=most_slots)]
    if status.failures:
        parts += ["", _failures(status, most=most_failures)]
    for each in status.dashboards:
        port = each.address.rpartition(":")[2]
        where = f"http://localhost:{port}/status on {each.node}; from elsewhere: {each.tunnel}"
        parts += ["", Text.assemble(("Dask's dashboard: ", "bold"), where)]
    if status.resume is not None:
        parts += ["", Text.assemble(("to continue: ", "bold"), status.resume)]
    return Group(*parts)


def line(status: Status) -> str:
    """Return the status as one line, for logs."""
    tasks, now = status.tasks, status.as_of
    ended = tasks.succeeded + tasks.failed + tasks.lost
    of = "" if tasks.expected is None else f" of {text.count(tasks.expected)}"
    parts = [
        f"{status.phase}: {text.count(ended)}{of} tasks ended",
        f"{text.count(tasks.failed)} failed",
        f"{text.count(tasks.lost)} lost",
        f"{text.count(tasks.running)} running",
    ]
    if status.rate_per_s is not None:
        parts.append(text.rate(status.rate_per_s))
    if status.estimated_end is not None and status.phase == Phase.RUNNING:
        parts.append(f"end about {text.clock_time(status.estimated_end, now)}")
    return f"{text.clock_time(now, now)} " + ", ".join(parts)


def _heading(status: Status) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("run", Text(status.directory))
    grid.add_row("state", _state(status))
    if status.batch_job is not None:
        grid.add_row("batch job", batch_job_line(status.batch_job))
    if status.sessions:
        session = status.sessions[-1]
        grid.add_row("session", f"{session.number}, opened {text.instant(session.opened)}")
        if session.replayed:
            grid.add_row("replayed", f"{text.count(session.replayed)} outcomes of earlier sessions")
    return grid


def batch_job_line(job: BatchJob) -> str:
    """Return what there is to say of a batch job."""
    nodes = f"{text.count(job.nodes)} node{'s' * (job.nodes != 1)}"
    said = f"{job.id} on {job.machine}: {job.state or 'state unknown here'}; {nodes}"
    said += f", {text.count(job.slots)} slots for {text.duration(job.walltime_s)}"
    count = len(job.follow_ups)
    return said + (f"; {count} follow-up{'s' * (count != 1)} to come" if count else "")


def _state(status: Status) -> Text:
    phase = Phase(status.phase)
    state = Text(phase.value, style=_PHASE_STYLE[phase])
    if status.driver is not None:
        state.append(f" by process {status.driver.pid} on {status.driver.host}", style="not bold")
    elif status.sessions:
        session = status.sessions[-1]
        if session.closed is not None:
            state.append(f" at {text.instant(session.closed)}", style="not bold")
        elif status.last_event is not None:
            said = f" (process {session.pid} on {session.host}); last heard of at"
            state.append(f"{said} {text.instant(status.last_event)}", style="not bold")
        if phase is Phase.ERROR and session.reason is not None:
            state.append(f": {text.one_line(session.reason)}", style="not bold")
    return state


def _progress(status: Status) -> RenderableType:
    tasks = status.tasks
    ended = tasks.succeeded + tasks.failed + tasks.lost
    words = [f"{text.count(ended)} ended"]
    if tasks.expected is not None:
        words = [f"{text.count(ended)} of {text.count(tasks.expected)} ended"]
    words += [f"{text.count(tasks.running)} running", f"{text.count(tasks.waiting)} waiting"]
    if tasks.failed or tasks.lost:
        words.append(f"{text.count(tasks.failed)} failed, {text.count(tasks.lost)} lost")
    if status.rate_per_s is not None:
        words.append(text.rate(status.rate_per_s))
    if status.estimated_end is not None and tasks.expected != ended:
        left = text.duration(status.estimated_end - status.as_of)
        at = text.clock_time(status.estimated_end, status.as_of)
        words.append(f"{left} left (about {at})")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row("tasks", ", ".join(words))
    if tasks.expected:
        grid.add_row("", ProgressBar(total=tasks.expected, completed=ended, width=50))
    return grid


def _table(title: str, note: str = "") -> Table:
    heading = Text.assemble((title, "bold"), (f"  {note}" if note else "", "dim"))
    return Table(
        title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, expand=False
    )


def _stages(stages: list[Stage]) -> Table:
    table = _table("Stages")
    table.add_column("stage", overflow="fold")
    table.add_column("kind")
    for name in ("offered", "succeeded", "failed", "lost", "running", "waiting", "retried"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for stage in stages:
        offered = text.count(stage.offered)
        if stage.expected is not None and stage.expected != stage.offered:
            offered += f" of {text.count(stage.expected)}"
        counts = (stage.succeeded, stage.failed, stage.lost)
        more = (stage.running, stage.waiting, stage.retried)
        table.add_row(
            Text(stage.stage),
            stage.kind,
            offered,
            *(text.count(number) for number in (*counts, *more)),
            "cancelled" if stage.cancelled else "closed" if stage.closed else "open",
        )
    return table


def _slots(status: Status, *, most: int) -> Table:
    slots = sorted(status.slots, key=lambda slot: (slot.up, text.natural(slot.slot)))
    up = sum(slot.up for slot in slots)
    hosts = len({slot.host for slot in slots})
    live = status.phase == Phase.RUNNING
    note = f"{text.count(up)} of {text.count(len(slots))} up, " if live else "of the last session, "
    note += f"on {text.count(hosts)} host{'s' * (hosts != 1)}"
    if len(slots) > most:
        note += f"; {text.count(most)} shown, all with --json"
    table = _table("Slots", note)
    for name in ("slot", "host", "pool", "device", "cores"):
        table.add_column(name, overflow="fold")
    table.add_column("attempts", justify="right")
    table.add_column("now", overflow="fold")
    for slot in slots[:most]:
        table.add_row(
            Text(slot.slot),
            Text(slot.host),
            slot.pool,
            Text(f"{slot.device} ({slot.uuid})" if slot.uuid else slot.device),
            _cores(slot.cores),
            text.count(slot.attempts),
            _now(slot, status.as_of, live=live),
        )
    return table


def _cores(cores: tuple[int, ...]) -> str:
    """Return core numbers, with runs of them shortened.

    Examples
    --------
    >>> _cores((0, 1)), _cores((0, 1, 2, 3, 4, 5)), _cores((0, 2, 4, 6, 8))
    ('0,1', '0-5', '5 cores')
    """
    if len(cores) <= MOST_CORES:
        return ",".join(map(str, cores))
    first, last = min(cores), max(cores)
    whole = last - first + 1 == len(set(cores))
    return f"{first}-{last}" if whole else f"{len(cores)} cores"


def _now(slot: Slot, now: float, *, live: bool) -> Text:
    if not slot.up:
        reason = text.one_line(slot.reason)
        return Text(f"down: {reason}", style="red") if live else Text(reason, style="dim")
    if slot.running is None:
        return Text("free", style="dim")
    work = slot.running
    again = f", attempt {work.attempt}" if work.attempt > 1 else ""
    since = text.duration(max(0.0, now - work.started))
    return Text(f"{work.stage}: {work.key}{again} ({since})")


def _failures(status: Status, *, most: int) -> Table:
    failures = status.failures[-most:]
    counted = status.tasks.failed + status.tasks.lost + status.tasks.retried
    note = f"latest {len(failures)} of {text.count(counted)}" if counted > len(failures) else ""
    table = _table("Attempts that did not succeed", note)
    for name in ("at", "task", "attempt", "slot", "cause", "message"):
        table.add_column(name, overflow="fold", justify="right" if name == "attempt" else "left")
    for failure in failures:
        table.add_row(*_failure(failure, status.as_of))
    return table


def _failure(failure: Failure, now: float) -> tuple[RenderableType, ...]:
    again = "" if failure.final else " (tried again)"
    message = text.one_line(failure.message)
    return (
        text.clock_time(failure.at, now),
        Text(f"{failure.stage}: {failure.key}"),
        str(failure.attempt),
        Text(failure.slot),
        f"{failure.cause}{again}",
        Text(f"{failure.type.rpartition('.')[2]}: {message}"),
    )
