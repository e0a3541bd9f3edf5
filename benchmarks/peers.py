"""Compare hpcflow with the field, on two processes of this machine, and hold it to its aims.

    python -m benchmarks.peers [--quick] [--output FILE]
    python -m benchmarks.peers --markdown FILE [--into PAGE]...

The same work goes through hpcflow (journal on, TLS on), the standard library's pools, joblib,
mpi4py.futures, plain Dask, Parsl, Ray, executorlib and libEnsemble, each used as its manual says
(`--settings` tells how) and none with encryption but hpcflow. Those not installed are reported as
such: `pip install 'hpcflow[peers]'`, and an MPI.

Each round of a package is a process of its own, and the packages take turns, A B C A B C; figures
are medians over the rounds. Every figure is a rate or a share, so a package that cannot do all the
work in the time set for a figure does fewer tasks. Two ways to run hpcflow that are held against
each other (journal, TLS, a raw round trip) take turns in one process. Nothing else should run on
the machine meanwhile; the load when it began is in the result. What has been measured is written
after each case: a comparison that is cut short leaves that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.field.aims import REPORTED, aims
from benchmarks.field.child import PAIRS, MeasureError, measure
from benchmarks.field.crowd import crowd
from benchmarks.field.effort import EFFORTS, EffortName
from benchmarks.field.entrants import CANDIDATES, why_absent
from benchmarks.field.pairs import OFF, ON, PLAIN, RAW, TLS
from benchmarks.field.tables import Table, only, publish, publishing, show, table, upright
from benchmarks.field.workloads import (
    BLOBS,
    MICRO,
    NAPS,
    NOOP,
    SORTED,
    STREAMS,
    TUNED_MICRO,
    TUNED_NOOP,
    UNSORTED,
)
from benchmarks.measuring import Figures, machine, medians, write

CROWD = "crowd"
BULK = {
    NOOP: "no-op [1/s]",
    TUNED_NOOP: "tuned chunk",
    NAPS[0.001]: "1 ms",
    NAPS[0.01]: "10 ms",
    UNSORTED: "unsorted",
    SORTED: "longest first",
}
ONWARD = {
    **{name: f"{width} in flight [1/s]" for width, name in STREAMS.items()},
    BLOBS: "1 MiB [1/s]",
    MICRO: "microsecond [1/s]",
    TUNED_MICRO: "tuned chunk",
}
"""Short names of figures, for tables of the field."""
AIMS = ("workload", "measure", "hpcflow", "aim", "verdict")
TITLES = {
    "field": "The field, all tasks known (shares are of the ideal)",
    "field-streams": "The field, streams of no-op tasks, and tasks of a microsecond",
    "pairs": "hpcflow with and without its journal and TLS",
    "crowd": "Simulated workers",
    "aims": "Aims",
    "reported": "Without an aim",
}
Cases = Mapping[str, Figures]


def measured(
    names: Sequence[str], effort: EffortName, *, rounds: int, absent: dict[str, str]
) -> Iterator[dict[str, list[Figures]]]:
    """Yield the figures of each case, a mapping a round, whenever there are more of them.

    `absent` gets what fails, and why.
    """
    found: dict[str, list[Figures]] = {}
    for number in range(rounds):
        for name in names:
            if name in absent or (name == CROWD and number > 0):
                continue
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                cases = crowd(EFFORTS[effort]) if name == CROWD else measure(name, effort).items()
                _add(found, cases)
            except MeasureError as error:
                absent[name] = str(error)
            yield found


def _add(found: dict[str, list[Figures]], cases: Iterable[tuple[str, Figures]]) -> None:
    for case, figures in cases:
        found.setdefault(case, []).append(figures)


def field(cases: Cases, names: Mapping[str, str]) -> Table:
    """Return a row for each package and a column for each of some figures."""
    found = {
        case: {short: figures[name] for name, short in names.items() if name in figures}
        for case, figures in only(cases, CANDIDATES).items()
    }
    return table(found, first="package", columns=tuple(names.values()))


def tables(cases: Cases) -> dict[str, Table]:
    """Return all tables by name, those without rows left out."""
    crowds = [name for name in cases if name.endswith("workers")]
    rows = [aim.row() for aim in aims(cases)]
    found = {
        "field": field(cases, BULK),
        "field-streams": field(cases, ONWARD),
        "pairs": upright(only(cases, (ON, OFF, TLS, PLAIN, RAW)), first="figure"),
        "crowd": upright(only(cases, crowds), first="figure"),
        "aims": [AIMS, *(row for row in rows if row[-1] != REPORTED)],
        "reported": [AIMS[:3], *(row[:3] for row in rows if row[-1] == REPORTED)],
    }
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def machine_of(result: Mapping[str, Any]) -> Table:
    """Return what a result was measured on, and how thoroughly."""
    rounds = sorted({len(figures) for figures in result["rounds"].values()})
    effort = f"{result['effort']}, {' to '.join(map(str, rounds[:: len(rounds) - 1 or 1]))} rounds"
    facts = {**result["machine"], "effort": effort}
    return [["measured on", ""], *([name, str(value)] for name, value in facts.items())]


def settings_of(result: Mapping[str, Any]) -> Table:
    """Return how each package of a result was used, or why it did not take part."""
    absent: Mapping[str, str] = result["absent"]
    rows = [
        [name, result["versions"][name] or "", absent.get(name, how).splitlines()[-1]]
        for name, how in result["settings"].items()
    ]
    return [["package", "version", "used as"], *rows]


@click.command()
@click.option("--quick", "effort", flag_value="quick", help="Fewer tasks and one round: minutes.")
@click.option("--tiny", "effort", flag_value="tiny", help="A few tasks: shows only that it runs.")
@click.option("--rounds", default=None, type=int, help="Rounds.  [default: 3, or 1 if quick]")
@click.option(
    "--only",
    "chosen",
    type=click.Choice([*CANDIDATES, PAIRS, CROWD]),
    multiple=True,
    help="Measure only this package; `pairs`: hpcflow against itself; `crowd`: many workers.",
)
@click.option("--settings", is_flag=True, help="Say how each package is used, and do nothing.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@publishing
def main(
    *,
    effort: EffortName | None,
    rounds: int | None,
    chosen: Sequence[str],
    settings: bool,
    earlier: Path | None,
    pages: Sequence[Path],
    output: Path | None,
) -> None:
    """Compare hpcflow with other packages on this machine."""
    if settings:
        for name, candidate in CANDIDATES.items():
            print(f"{name} ({candidate.version() or 'not installed'}): {candidate.settings}")
    elif earlier is not None:
        result = json.loads(earlier.read_text())
        about = {"settings": settings_of(result), "machine": machine_of(result)}
        publish({**tables(result["medians"]), **about}, pages)
    else:
        compare(
            chosen or (*CANDIDATES, PAIRS, CROWD),
            effort or "full",
            rounds=rounds or (1 if effort else 3),
            output=output,
        )


def compare(names: Sequence[str], effort: EffortName, *, rounds: int, output: Path | None) -> None:
    """Measure, write what there is after each case, and print the tables."""
    reasons = {name: why_absent(name) for name in names if name in CANDIDATES}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    result: dict[str, Any] = {
        "machine": machine(),
        "effort": effort,
        "versions": {name: CANDIDATES[name].version() for name in reasons},
        "settings": {name: CANDIDATES[name].settings for name in reasons},
        "absent": absent,
        "medians": {},
    }
    for found in measured(names, effort, rounds=rounds, absent=absent):
        cases = medians(found)
        result |= {
            "medians": cases,
            "aims": [aim.record() for aim in aims(cases)],
            "rounds": found,
        }
        write(output, result)
    for name, rows in tables(result["medians"]).items():
        show(f"{TITLES[name]}: {effort}, medians of {rounds} rounds", rows)
    for name, reason in absent.items():
        print(f"{name} did not take part: {reason}")


if __name__ == "__main__":
    main()
