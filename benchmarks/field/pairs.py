"""Figures that are ratios of two ways to run hpcflow: both are up, and take turns."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.field.effort import Effort
from benchmarks.field.entrant import SLOTS, Entrant
from benchmarks.field.farms import farm
from benchmarks.field.raw import raw
from benchmarks.field.work import nap, noop
from benchmarks.field.workloads import NAPS, NOOP, STREAMS, blobs

MILLISECOND = NAPS[0.001]
ON, OFF = "journal on", "journal off"
TLS, PLAIN = "TLS on", "TLS off"
RAW = "raw round trip"


def pairs(effort: Effort) -> dict[str, dict[str, float]]:
    """Return medians by case: of the journal, of TLS, and of the raw round trip."""
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        on = stack.enter_context(farm())
        off = stack.enter_context(farm(journal=False))
        plain = stack.enter_context(farm(insecure=True))
        bare = stack.enter_context(raw(base / "credentials"))
        journal = _alternate({ON: on, OFF: off}, lambda each: _nap(each, effort), effort)
        tls = _alternate({TLS: on, PLAIN: plain}, lambda each: _quick(each, effort), effort)
        trips = _alternate(
            {ON: on, OFF: off, RAW: bare}, lambda each: dict(blobs(each, effort)), effort
        )
    cases: dict[str, dict[str, float]] = {}
    for part in (journal, tls, trips):
        for case, found in part.items():
            cases.setdefault(case, {}).update(found)
    return cases


def _alternate(
    cases: Mapping[str, Entrant], measure: Callable[[Entrant], dict[str, float]], effort: Effort
) -> dict[str, dict[str, float]]:
    rounds: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(effort.pairs):
        for case, entrant in cases.items():
            rounds[case].append(measure(entrant))
    return {
        case: {name: statistics.median(each[name] for each in found) for name in found[0]}
        for case, found in rounds.items()
    }


def _nap(entrant: Entrant, effort: Effort) -> dict[str, float]:
    took = entrant.bulk(nap, [0.001] * effort.nap)
    return {MILLISECOND: effort.nap * 0.001 / SLOTS / took}


def _quick(entrant: Entrant, effort: Effort) -> dict[str, float]:
    figures = {NOOP: effort.noop / entrant.bulk(noop, range(effort.noop))}
    assert entrant.stream is not None, "farms have streams"
    for width, name in STREAMS.items():
        took = entrant.stream(noop, range(effort.stream), width=width)
        figures[name] = effort.stream / took
    return figures
