"""What is said when a run is over: a table, and where the report lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hpcflow.core.task import AnyOutcome, Failed, Lost, Succeeded
from hpcflow.dashboards import text
from hpcflow.timing.ledger import Category, Ledger

Row = tuple[str, str]
"""What, and how much with its unit."""


def table(rows: Sequence[Row]) -> str:
    """Return rows as two aligned columns.

    Examples
    --------
    >>> print(table([("replicas", "32"), ("in total", "0.64 ns")]))
    replicas  32
    in total  0.64 ns
    """
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def closing_rows(outcomes: Sequence[AnyOutcome], ledger: Ledger) -> list[Row]:
    """Return how many tasks ended how, and what the slots' time went to."""
    return [*_tasks(outcomes), *_seconds(ledger)]


def _tasks(outcomes: Sequence[AnyOutcome]) -> list[Row]:
    counts = Counter(type(outcome) for outcome in outcomes)
    rows = [
        ("tasks", text.count(len(outcomes))),
        ("succeeded", text.count(counts[Succeeded])),
        ("failed", text.count(counts[Failed])),
    ]
    if counts[Lost]:
        rows.append(("lost", text.count(counts[Lost])))
    replayed = sum(outcome.replayed for outcome in outcomes)
    if replayed:
        rows.append(("recorded before", text.count(replayed)))
    return rows


def _seconds(ledger: Ledger) -> list[Row]:
    start_up_s = ledger.seconds[Category.STARTUP] + ledger.seconds[Category.PRELOAD]
    spent = {
        "start-up": start_up_s,
        "dispatch": ledger.seconds[Category.DISPATCH],
        "tail": ledger.seconds[Category.TAIL],
    }
    whole = f"{text.percent(ledger.utilization)} of {ledger.allocation_s:,.1f} slot seconds"
    return [
        ("utilization", whole),
        *((f"lost to {what}", f"{seconds:,.1f} slot seconds") for what, seconds in spent.items()),
    ]
