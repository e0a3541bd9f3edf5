"""Tables of figures, for the terminal and for pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.measuring import Figures

Table = Sequence[Sequence[str]]
"""Rows of text, of which the first is the head."""


def text(value: float | None) -> str:
    """Return a figure with as many digits as say something; nothing for none."""
    if value is None:
        return ""
    if abs(value) >= 100:  # noqa: PLR2004  # three digits
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004  # three digits


def table(cases: Mapping[str, Figures], *, first: str, columns: Sequence[str] = ()) -> Table:
    """Return a row for each case and a column for each figure, or for those of these names."""
    every = columns or (name for figures in cases.values() for name in figures)
    names = list(dict.fromkeys(every))
    rows = [[case, *(text(figures.get(name)) for name in names)] for case, figures in cases.items()]
    return [[first, *names], *rows]


def upright(cases: Mapping[str, Figures], *, first: str) -> Table:
    """Return a row for each figure and a column for each case."""
    return [list(column) for column in zip(*table(cases, first=first), strict=True)]


def markdown(rows: Table) -> str:
    """Return a table for a page of the documentation."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(title: str, rows: Table) -> None:
    """Print a table."""
    head, *body = rows
    printed = RichTable(*map(escape, head), title=title)
    for row in body:
        printed.add_row(*map(escape, row))
    Console().print(printed)


def only(cases: Mapping[str, Figures], names: Iterable[str]) -> dict[str, Figures]:
    """Return the cases of these names that there are."""
    return {name: cases[name] for name in names if name in cases}
