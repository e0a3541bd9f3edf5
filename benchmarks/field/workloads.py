"""The workloads that every package runs, and the figures that come of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from benchmarks.field.effort import Effort
from benchmarks.field.entrant import SLOTS, Chunked, Entrant
from benchmarks.field.work import bound_s, echo, microsecond, nap, noop, skewed_s

NOOP = "no-op tasks [1/s]"
TUNED_NOOP = "no-op tasks, tuned chunk [1/s]"
MICRO = "microsecond tasks [1/s]"
TUNED_MICRO = "microsecond tasks, tuned chunk [1/s]"
GROWTH = "microsecond tasks: growth of the driver's memory [MiB]"
NAPS = {0.001: "1 ms tasks: share of the ideal", 0.01: "10 ms tasks: share of the ideal"}
STREAMS = {width: f"stream of no-op tasks, {width} in flight [1/s]" for width in (2, 8, 64)}
SORTED = "log-normal tasks, longest first: share of the bound"
UNSORTED = "log-normal tasks, unsorted: share of the bound"
BLOBS = "1 MiB in and out, one at a time [1/s]"
MEAN_S = 0.02
"""Mean duration of log-normal tasks [s]."""
_CHUNKS = (10, 100, 1000, 5000, 20_000)
_BLOB = bytes(range(256)) * 4096


def figures(entrant: Entrant, effort: Effort) -> Iterator[tuple[str, float]]:
    """Yield one round's figures of a package, each with its name."""
    entrant.bulk(noop, range(2 * SLOTS))
    yield NOOP, _rate(functools.partial(entrant.bulk, noop), range(effort.noop), effort)
    if entrant.chunked is not None:
        yield TUNED_NOOP, _tuned(entrant.chunked, noop, effort.noop)
        yield TUNED_MICRO, _tuned(entrant.chunked, microsecond, effort.micro)
    for each_s, name in NAPS.items():
        most = max(SLOTS, round(effort.nap * min(1.0, 0.004 / each_s)))
        inputs = [each_s] * most
        rate = _rate(functools.partial(entrant.bulk, nap), inputs, effort)
        yield name, rate * each_s / SLOTS
    yield from _skewed(entrant, effort)
    if entrant.stream is not None:
        for width, name in STREAMS.items():
            run = functools.partial(entrant.stream, noop, width=width)
            yield name, _rate(run, range(effort.stream), effort)


def micro(entrant: Entrant, effort: Effort) -> Iterator[tuple[str, float]]:
    """Yield what a million tasks of a microsecond come to."""
    process = psutil.Process()
    entrant.bulk(microsecond, range(1000))
    before = process.memory_info().rss
    took = entrant.bulk(microsecond, range(effort.micro))
    yield MICRO, effort.micro / took
    yield GROWTH, (process.memory_info().rss - before) / 2**20


def blobs(entrant: Entrant, effort: Effort) -> Iterator[tuple[str, float]]:
    """Yield how often a task of 1 MiB goes and comes."""
    if entrant.stream is not None:
        run = functools.partial(entrant.stream, echo, width=1)
        yield BLOBS, _rate(run, [_BLOB] * effort.blobs, effort)


def _skewed(entrant: Entrant, effort: Effort) -> Iterator[tuple[str, float]]:
    durations = skewed_s(effort.skewed, mean_s=MEAN_S)
    bound = bound_s(durations, slots=SLOTS)
    yield UNSORTED, bound / entrant.bulk(nap, durations)
    if entrant.by_cost is None:
        yield SORTED, bound / entrant.bulk(nap, sorted(durations, reverse=True))
    else:
        yield SORTED, bound / entrant.by_cost(nap, durations)


def _rate(run: Callable[[Sequence[Any]], float], inputs: Sequence[Any], effort: Effort) -> float:
    """Return tasks a second, over as many of the inputs as the budget allows."""
    pace = min(effort.probe, len(inputs)) / run(inputs[: effort.probe])
    count = max(effort.probe, int(pace * effort.budget_s))
    some = inputs[:count]
    return len(some) / run(some)


def _tuned(chunked: Chunked, function: Callable[[Any], Any], count: int) -> float:
    """Return the rate with the best of some chunk sizes, as somebody would find it by hand."""
    sample = range(max(1, count // 5))
    best = min(_CHUNKS, key=lambda chunk: chunked(function, sample, chunk=chunk))
    return count / chunked(function, range(count), chunk=best)
