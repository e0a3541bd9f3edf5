"""What a driver asks of a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        if self.retries < 0:
            raise RequestError(
                f"cannot retry {self.retries} times: retries are 0 or more. Raise `retries`."
            )
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise RequestError(
                f"cannot limit tasks to {self.time_limit_s} s: a time limit is more than 0 s. Raise"
                " `time_limit_s`, or leave it out."
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
