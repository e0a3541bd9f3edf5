"""report.html: a whole run as one file that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bokeh.embed import components
from bokeh.plotting import figure
from bokeh.resources import Resources

from hpcflow.core.state import FailureNote
from hpcflow.dashboards import page, text
from hpcflow.dashboards.durations import durations
from hpcflow.dashboards.free_energy import free_energy_map
from hpcflow.dashboards.gather import Gathered, gather
from hpcflow.dashboards.ledger_bar import ledger_bar, ledger_table
from hpcflow.dashboards.molecular import Torsions, read_torsions
from hpcflow.dashboards.output import replacing
from hpcflow.dashboards.source import Phase, RunSource
from hpcflow.dashboards.thermostat import readings_of, thermostats
from hpcflow.dashboards.throughput import busy_slots, throughput
from hpcflow.dashboards.timeline import timeline
from hpcflow.timing.overhead import Overheads, Spread


def write_report(source: RunSource, path: Path, *, now: float) -> None:
    """Write the report of a run.

    Parameters
    ----------
    source
        The run: live, dead or copied. It need not have been read: the report reads for itself.
    path
        The file; it takes the place of an older one once it is complete.
    now
        The time [s since the epoch].

    Raises
    ------
    JournalError
        If the journal is damaged, or `path` cannot be written.
    """
    document = render(source, now=now)
    with replacing(path) as file:
        file.write(document)


def render(source: RunSource, *, now: float) -> str:
    """Return the report of a run as HTML."""
    gathered = gather(source.directory, now=now)
    figures = _Figures()
    sections = [
        _heading(gathered, now=now),
        _ledger(gathered, figures),
        _slots(gathered, figures),
        _physics(gathered, figures),
        _tasks(gathered, figures),
        _failures(gathered),
        _machine(gathered),
    ]
    head, body = figures.embed("\n".join(sections))
    return page.document(f"hpcflow: {source.directory.path.name}", head=head, body=body)


class _Figures:
    """Figures leave a mark where they belong, and are embedded all together."""

    def __init__(self) -> None:
        self._figures: list[figure] = []

    def place(self, plot: figure | None) -> str:
        if plot is None:
            return ""
        self._figures.append(plot)
        return f"<hpcflow-figure-{len(self._figures) - 1}>"

    def embed(self, body: str) -> tuple[str, str]:
        """Return what goes into the head, and `body` with the figures in their places."""
        if not self._figures:
            return "", body
        script, boxes = components(tuple(self._figures))
        for index, box in enumerate(boxes):
            body = body.replace(f"<hpcflow-figure-{index}>", box)
        resources = Resources(mode="inline", components=["bokeh"])
        return str(resources.render()), f"{body}\n{script}"


def _heading(gathered: Gathered, *, now: float) -> str:
    source, state, ledger = gathered.source, gathered.state, gathered.ledger
    name = source.directory.path.resolve().name
    sub = f"hpcflow run {state.run_id}, as of {text.instant(now)}"
    parts = [f"<h1>{page.escape(name)}</h1>", f'<p class="sub">{page.escape(sub)}</p>']
    note = _note(source)
    if note:
        parts.append(f'<div class="note-bar">{page.escape(note)}</div>')
    expected = "" if state.expected is None else f"of {text.count(state.expected)} expected"
    bad = state.failed + state.lost
    cards = [
        page.card("state", source.phase.value, _sessions(len(state.sessions))),
        page.card("tasks ended", text.count(state.ended), expected),
        page.card(
            "failed or lost", text.count(bad), f"{text.count(state.retried)} attempts tried again"
        ),
        page.card(
            "utilization", text.percent(ledger.utilization), "useful share of the allocation"
        ),
        page.card(
            "allocation",
            text.duration(ledger.allocation_s),
            f"of slot time, on {text.count(ledger.slots)} slots",
        ),
        page.card(
            "makespan", text.duration(ledger.makespan_s), "from first opening to last finish"
        ),
        *_molecular_cards(gathered),
    ]
    return "".join(parts) + f'<div class="cards">{"".join(cards)}</div>'


def _sessions(number: int) -> str:
    return f"{number} session{'s' * (number != 1)}"


def _note(source: RunSource) -> str:
    match source.phase:
        case Phase.RUNNING:
            return (
                "The run is live: this is how far it is. Make the report again once it has ended."
            )
        case Phase.EMPTY:
            return "No driver has opened this run yet: there is nothing to show."
        case Phase.FINISHED:
            return ""
        case phase:
            return f"The run is not finished ({phase.value}). To continue: {source.resume}"


def _molecular_cards(gathered: Gathered) -> list[str]:
    segments = gathered.segments.segments
    simulated = sum(one.ns for one in segments)
    if not simulated or not gathered.ledger.held_s:
        return []
    held = gathered.ledger.held_s
    return [
        page.card("simulated", f"{simulated:.4g} ns", f"in {text.count(len(segments))} segments"),
        page.card(
            "simulated a day",
            f"{simulated / held * 86400:.4g} ns",
            "of time in which slots were held, start-up included",
        ),
    ]


def _ledger(gathered: Gathered, figures: _Figures) -> str:
    if not gathered.ledger.allocation_s:
        return ""
    parts = [figures.place(ledger_bar(gathered.ledger)), ledger_table(gathered.ledger)]
    if gathered.overheads is not None:
        parts.append(_overheads(gathered.overheads))
    return page.section("Slot time", *parts)


def _overheads(overheads: Overheads) -> str:
    def words(spread: Spread) -> str:
        deviation = (
            "" if spread.deviation_s != spread.deviation_s else f" ± {spread.deviation_s:.3g}"
        )
        return f"{spread.mean_s:.4g}{deviation}"

    cells = (
        text.count(overheads.slots),
        words(overheads.start),
        words(overheads.end),
        words(overheads.between),
    )
    heads = ("slots", "start [s]", "end [s]", "between tasks [s]")
    return (
        "<h3>Overheads a slot</h3>"
        + page.table(heads, [cells], right=range(4))
        + page.caption(
            "Mean and standard deviation over slots that ran something, each session on its own:"
            " from the session's opening to the first start, from the last finish to the session's"
            " close, and all time between attempts."
        )
    )


def _slots(gathered: Gathered, figures: _Figures) -> str:
    if not len(gathered.attempts):
        return ""
    plot, caption = timeline(gathered)
    return page.section(
        "Slots",
        figures.place(plot),
        page.caption(caption),
        figures.place(busy_slots(gathered)),
    )


def _physics(gathered: Gathered, figures: _Figures) -> str:
    segments = gathered.segments
    if not segments.segments:
        return ""
    lowest = segments.temperatures[0]
    torsions = read_torsions(gathered.source.directory.path, segments.at(lowest))
    energy = figures.place(free_energy_map(torsions, temperature_k=lowest))
    readings = readings_of(segments)
    kinetic = figures.place(thermostats(readings)) if readings else ""
    if not energy and not kinetic:
        return ""
    parts = []
    if energy:
        parts.append(f"<div>{energy}{page.caption(_sampled(torsions))}</div>")
    if kinetic:
        within = sum(one.within for one in readings)
        words = (
            f"Bars span three standard errors on each side; {within} of {len(readings)}"
            " thermostats lie within."
        )
        parts.append(f"<div>{kinetic}{page.caption(words)}</div>")
    return page.section("Physics", f'<div class="columns">{"".join(parts)}</div>')


def _sampled(torsions: Torsions) -> str:
    words = (
        f"F = -kB T ln P, its minimum at zero, from {text.count(torsions.frames)} frames in"
        f" {text.count(torsions.files)} files; bins without a sample are blank."
    )
    if len(torsions.phi) != torsions.frames:
        words += f" All residues together: {text.count(len(torsions.phi))} pairs of torsions."
    if torsions.unread:
        words += f" {text.count(torsions.unread)} files are missing or cannot be read."
    return words


def _tasks(gathered: Gathered, figures: _Figures) -> str:
    if not gathered.state.stages:
        return ""
    rows = [
        (
            page.escape(stage.stage),
            page.escape(stage.kind),
            page.escape(stage.function),
            text.count(stage.offered),
            text.count(stage.succeeded),
            text.count(stage.failed),
            text.count(stage.lost),
            text.count(stage.retried),
            "cancelled" if stage.cancelled else "closed" if stage.closed else "open",
        )
        for stage in gathered.state.stages.values()
    ]
    heads = ("stage", "kind", "function", "offered", "succeeded", "failed", "lost", "retried")
    return page.section(
        "Tasks",
        page.table((*heads, "state"), rows, right=range(3, 8)),
        figures.place(durations(gathered.attempts)),
        figures.place(throughput(gathered)),
    )


def _failures(gathered: Gathered) -> str:
    state = gathered.state
    if not state.failures:
        return ""
    total = state.failed + state.lost + state.retried
    rows = [_failure(note) for note in reversed(state.failures)]
    heads = ("at", "task", "attempt", "slot", "cause", "error")
    words = f"The latest {len(rows)} of {text.count(total)}; timings.csv has all of them."
    return page.section(
        "Attempts that did not succeed", page.table(heads, rows, right=(2,)), page.caption(words)
    )


def _failure(note: FailureNote) -> Sequence[str]:
    again = "" if note.final else " (tried again)"
    error = page.escape(f"{note.type.rpartition('.')[2]}: {text.one_line(note.message)}")
    if note.traceback:
        trace = page.escape(note.traceback)
        error += f"<details><summary>traceback</summary><pre>{trace}</pre></details>"
    return (
        page.escape(text.instant(note.at)),
        page.escape(f"{note.stage}: {note.key}"),
        str(note.attempt),
        f'<span class="whole">{page.escape(note.slot)}</span>',
        page.escape(f"{note.cause}{again}"),
        error,
    )


def _machine(gathered: Gathered) -> str:
    source = gathered.source
    rows = [
        (
            str(session.number),
            page.escape(text.instant(session.opened)),
            page.escape(_ending(source, session.number, session.reason)),
            page.escape(f"{session.host}, process {session.pid}"),
            text.count(session.slots),
            text.count(session.replayed),
            page.escape(session.hpcflow),
            page.escape(session.python),
        )
        for session in gathered.state.sessions
    ]
    heads = ("", "opened", "ended", "driver", "slots asked for", "replayed", "hpcflow", "Python")
    parts = [page.table(heads, rows, right=(4, 5))] if rows else []
    asked = {name: table for name, table in source.asked.items() if name != "ensemble"}
    if asked:
        parts.append("<h3>What was asked, and of which machine</h3>")
        parts.append(page.mapping_table(asked))
    if "ensemble" in source.asked:
        ensemble = page.mapping_table({"ensemble": source.asked["ensemble"]})
        parts.append(f"<details><summary>The ensemble</summary>{ensemble}</details>")
    return page.section("Sessions and versions", *parts) if parts else ""


def _ending(source: RunSource, number: int, reason: str | None) -> str:
    if reason is not None:
        return text.one_line(reason)
    latest = number == len(source.state.sessions)
    return "runs" if latest and source.live else "killed"
