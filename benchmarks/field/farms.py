"""hpcflow itself: a farm with two slots on one worker."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.field.entrant import SLOTS, Entrant, Function, drained
from hpcflow import Farm


@contextlib.contextmanager
def farm(*, journal: bool = True, insecure: bool = False, tasks: bool = False) -> Iterator[Entrant]:
    """`farm.map` and `farm.stream`, with every outcome journaled before it is seen."""
    with (
        tempfile.TemporaryDirectory() as base,
        Farm(
            slots=SLOTS,
            run=Path(base) / "run" if journal else None,
            insecure=insecure,
            transport="tasks" if tasks else "lanes",
        ) as opened,
    ):
        opened.wait_for_slots()
        yield entrant(opened)


def entrant(opened: Farm) -> Entrant:
    """Return what a farm that is up offers."""

    def bulk(function: Function, inputs: Sequence[Any], /) -> float:
        began = time.perf_counter()
        return drained(opened.map(function, inputs), expected=len(inputs), began=began)

    def by_cost(function: Function, inputs: Sequence[Any], /) -> float:
        began = time.perf_counter()
        outcomes = opened.map(function, inputs, order="longest-first", cost=inputs)
        return drained(outcomes, expected=len(inputs), began=began)

    def stream(function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
        began = time.perf_counter()
        return drained(
            _streamed(opened, function, inputs, width=width), expected=len(inputs), began=began
        )

    return Entrant(bulk=bulk, stream=stream, by_cost=by_cost)


def _streamed(
    opened: Farm, function: Function, inputs: Sequence[Any], *, width: int
) -> Iterator[object]:
    waiting = iter(inputs)
    with opened.stream(function) as stream:
        stream.submit_all(itertools.islice(waiting, width))
        for outcome in stream:
            yield outcome.result()
            for item in itertools.islice(waiting, 1):
                stream.submit(item)
