"""What the benchmarks share: where they ran, and how their figures are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Figures = Mapping[str, float]
"""One round's figures by name, which ends with the unit."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on; `load` is what else ran, on average of a minute."""
    return {
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("hpcflow", "dask", "distributed", "msgspec")},
    }


def medians(rounds: Mapping[str, Sequence[Figures]]) -> dict[str, dict[str, float]]:
    """Return each case's medians over its rounds."""
    return {
        case: {name: statistics.median(each[name] for each in figures) for name in figures[0]}
        for case, figures in rounds.items()
    }


def show(title: str, cases: Mapping[str, Figures], *, first: str = "figure") -> None:
    """Print a table: a row for each figure, a column for each case."""
    table = Table(first, *cases, title=title)
    names = list(dict.fromkeys(name for figures in cases.values() for name in figures))
    for name in names:
        values = (figures.get(name) for figures in cases.values())
        table.add_row(escape(name), *("" if value is None else f"{value:,.2f}" for value in values))
    Console().print(table)


def write(output: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, if it is wanted."""
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n")
