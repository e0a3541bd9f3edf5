"""What a driver asks of a stage."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from hpcflow.core.stimulus import Policy
from hpcflow.errors import RequestError
from hpcflow.farm.transport import Call

Key = Callable[[Any], str]
"""Names a task, given its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What `map` and `stream` can be asked for."""

    stage: str | None
    key: Key | None
    retries: int
    time_limit_s: float | None
    total: int | None

    def check(self) -> None:
        """Refuse values out of range.

        Raises
        ------
        RequestError
            If one is.
        """
        if not _is_whole(self.retries) or self.retries < 0:
            raise RequestError(
                f"cannot retry {self.retries!r} times: retries are a whole number, 0 or more."
                " Correct `retries`."
            )
        limit_s = self.time_limit_s
        if limit_s is not None and not (isinstance(limit_s, Real) and limit_s > 0):
            raise RequestError(
                f"cannot limit tasks to {limit_s!r} s: a time limit is a number, more than 0 s."
                " Raise `time_limit_s`, or leave it out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """A map or a stream, ready to begin."""

    name: str
    kind: str
    """`map` or `stream`."""
    function: Callable[[Any], Any]
    key: Key | None
    policy: Policy
    call: Call
    total: int | None
    """Number of tasks, where it is known."""


def count_slots(slots: int | None, workers: int) -> int:
    """Return how many slots a farm on this machine gets.

    Raises
    ------
    RequestError
        If there cannot be so many, or not so many workers.
    """
    cores = len(os.sched_getaffinity(0))
    count = cores if slots is None else slots
    if not _is_whole(count) or count < 1:
        raise RequestError(
            f"cannot start {count!r} slots: a farm has a whole number of them, at least 1. Ask for"
            f" 1 to {cores} slots on this machine, or leave `slots` out to use every core."
        )
    if not _is_whole(workers) or not 1 <= workers <= count:
        raise RequestError(
            f"cannot share {count} slots among {workers!r} workers: each has at least 1 slot. Ask"
            f" for 1 to {count} workers."
        )
    return operator.index(count)


def check_seed(seed: int | None) -> None:
    """Refuse what cannot be the seed of a run.

    Raises
    ------
    RequestError
        If it is no whole number from 0 to 2**63 - 1.
    """
    if seed is not None and not (_is_whole(seed) and 0 <= seed < 2**63):
        raise RequestError(
            f"cannot seed a run with {seed!r}: a seed is a whole number from 0 to 2**63 - 1."
            " Choose another one."
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
