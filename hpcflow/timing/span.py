"""A span: the time that one attempt held one slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hpcflow.core.event import AnyEvent
from hpcflow.errors import RequestError
from hpcflow.timing.attempt import Ended, batches_of


class EmptyWindowError(RequestError):
    """A share of slot time was asked for where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One attempt on one slot. Times are seconds since the epoch."""

    slot: str
    started: float
    finished: float
    stage: str = ""
    key: str = ""
    attempt: int = 1
    ended: Ended = Ended.SUCCEEDED


def spans_of(events: Iterable[AnyEvent], *, now: float | None = None) -> Iterator[Span]:
    """Yield the span of every attempt.

    Parameters
    ----------
    events
        The whole journal, in order.
    now
        The time [s since the epoch] where the run is live; see `hpcflow.timing.attempt`.
    """
    for batch in batches_of(events, now=now):
        for key, started, finished in zip(batch.keys, batch.started, batch.finished, strict=True):
            yield Span(
                slot=batch.slot,
                started=started,
                finished=finished,
                stage=batch.stage,
                key=key,
                attempt=batch.attempt,
                ended=batch.ended,
            )


def idle_fraction(spans: Iterable[Span], *, slots: int, begin: float, end: float) -> float:
    """Return the share of slot time between two instants in which no task ran.

    Parameters
    ----------
    spans
        Attempts in any order; spans of one slot do not overlap. Parts outside the window are
        ignored.
    slots
        Slots held during the window, those that never ran a task included.
    begin, end
        Edges of the window [s since the epoch].

    Raises
    ------
    EmptyWindowError
        If the window has no length or no slots.

    Examples
    --------
    Two slots are held for 10 s; one works 8 s of it, the other not at all.

    >>> idle_fraction([Span(slot="a", started=1, finished=9)], slots=2, begin=0, end=10)
    0.6
    """
    if end <= begin or slots < 1:
        raise EmptyWindowError(
            f"cannot tell how idle {slots} slots were from {begin} s to {end} s: the window needs"
            " length and slots. Give an end after its begin, and at least one slot."
        )
    busy = sum(max(0.0, min(span.finished, end) - max(span.started, begin)) for span in spans)
    return 1.0 - busy / (slots * (end - begin))
