"""What a package offers to a comparison: bulk work, and streams of tasks, on two processes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

SLOTS = 2
"""Processes that run tasks."""
Function = Callable[[Any], Any]
Submit = Callable[[Function, Any], "Future[Any]"]


class Bulk(Protocol):
    """Runs a function over inputs that are all known."""

    def __call__(self, function: Function, inputs: Sequence[Any], /) -> float:
        """Take every outcome as it is completed; return how long that took [s]."""
        ...


class Streaming(Protocol):
    """Runs a function over inputs, each submitted when an outcome has come back."""

    def __call__(self, function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
        """Keep `width` tasks in flight; return how long it took until all were done [s]."""
        ...


class Chunked(Protocol):
    """Runs a function over inputs in chunks of a size that somebody has tuned."""

    def __call__(self, function: Function, inputs: Sequence[Any], /, *, chunk: int) -> float:
        """Take every outcome; return how long that took [s]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A package whose two processes are up."""

    bulk: Bulk
    stream: Streaming | None = None
    """None where there is no such thing."""
    chunked: Chunked | None = None
    """None where chunks have no size to tune, or the package finds it by itself."""
    by_cost: Bulk | None = None
    """Runs naps, whose inputs are their costs, in the order that the package finds best."""


def drained(outcomes: Iterable[Any], *, expected: int, began: float) -> float:
    """Take every outcome; return how long ago it began [s].

    Raises
    ------
    RuntimeError
        If there are not as many outcomes as expected.
    """
    count = sum(1 for _ in outcomes)
    if count != expected:
        raise RuntimeError(f"{count} outcomes instead of {expected}")
    return time.perf_counter() - began


def bulk_of_futures(submit: Submit) -> Bulk:
    """Return bulk work on an executor, by `concurrent.futures.as_completed`."""

    def bulk(function: Function, inputs: Sequence[Any], /) -> float:
        began = time.perf_counter()
        futures = [submit(function, each) for each in inputs]
        results = (future.result() for future in as_completed(futures))
        return drained(results, expected=len(inputs), began=began)

    return bulk


def stream_of_futures(submit: Submit) -> Streaming:
    """Return streams on an executor: a callback puts each future that is done into a queue."""
    return stream_of_callbacks(
        lambda function, item, put: submit(function, item).add_done_callback(put),
        lambda future: future.result(),
    )


def stream_of_callbacks(
    send: Callable[[Function, Any, Callable[[Any], object]], object],
    result: Callable[[Any], object],
) -> Streaming:
    """Return streams on what calls back.

    Parameters
    ----------
    send
        Submits a function and its input, and what is to be called once it is done.
    result
        Opens what was called back with.
    """

    def stream(function: Function, inputs: Sequence[Any], /, *, width: int) -> float:
        done: SimpleQueue[Any] = SimpleQueue()
        began = time.perf_counter()
        return drained(
            _kept(send, function, inputs, width=width, done=done, result=result),
            expected=len(inputs),
            began=began,
        )

    return stream


def _kept(
    send: Callable[[Function, Any, Callable[[Any], object]], object],
    function: Function,
    inputs: Sequence[Any],
    *,
    width: int,
    done: SimpleQueue[Any],
    result: Callable[[Any], object],
) -> Iterator[object]:
    waiting = iter(inputs)
    out = 0
    for item in itertools.islice(waiting, width):
        send(function, item, done.put)
        out += 1
    while out:
        yield result(done.get())
        out -= 1
        for item in itertools.islice(waiting, 1):
            send(function, item, done.put)
            out += 1
