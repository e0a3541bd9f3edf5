"""Tables of figures, for the terminal and for pages of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import click
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


def publishing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `publish`: `earlier`, a result's file, and `pages`."""
    path = click.Path(exists=True, path_type=Path)
    into = click.option(
        "--into",
        "pages",
        type=path,
        multiple=True,
        help="With --markdown: put the tables into this page instead, between its marks.",
    )
    markdown = click.option(
        "--markdown",
        "earlier",
        type=path,
        help="Print the tables of an earlier result for the documentation, and do nothing.",
    )
    return markdown(into(command))


def publish(blocks: Mapping[str, Table], pages: Sequence[Path]) -> None:
    """Print tables for the documentation, or put them into pages of it.

    A page says where a table belongs by the marks `<!-- name -->` and `<!-- /name -->`; it need
    not have a place for each.
    """
    if not pages:
        for name, rows in blocks.items():
            print(f"<!-- {name} -->\n{markdown(rows)}\n<!-- /{name} -->\n")
    for page in pages:
        text = page.read_text()
        for name, rows in blocks.items():
            begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
            head, found, rest = text.partition(begin)
            _, ended, tail = rest.partition(end)
            if found and ended:
                text = f"{head}{begin}\n{markdown(rows)}\n\n{end}{tail}"
        page.write_text(text)


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
