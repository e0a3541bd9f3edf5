"""The calls of an executor: what travels to a runner, and the names by which a run knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpcflow.core.stimulus import Task
from hpcflow.farm.pickling import digest_input, name_of, pickle_input
from hpcflow.journal.resume import StageRecord

LONGEST_NAME = 40
"""Characters of a function's name that stand in the key of its calls."""

Content = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""A function, its arguments, and its keyword arguments."""


def run_call(content: Content) -> Any:
    """Do what was submitted: every task of an executor is this function applied to a call."""
    function, arguments, keywords = content
    return function(*arguments, **keywords)


class Several:
    """A function, applied to several tuples of arguments in one call."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Return the function's value for each of the tuples."""
        return [self.func(*arguments) for arguments in calls]


@dataclass(frozen=True, slots=True)
class Call:
    """One submission, ready to travel."""

    key: str
    payload: bytes


class CallNaming:
    """Names the calls of an executor, and numbers those that go out.

    In a run, a call is known by what is called with which arguments, and by how many times it was
    submitted before. So a resumed driver finds what was recorded whichever thread comes first.
    Elsewhere nothing is looked up again, and calls are numbered.
    """

    def __init__(self, stage: str, record: StageRecord | None, *, in_run: bool) -> None:
        """Begin with what a run knows of the executor.

        Parameters
        ----------
        stage
            The executor's name.
        record
            The executor's earlier calls; None where there are none.
        in_run
            Whether outcomes are kept.
        """
        self.stage = stage
        self._recorded = frozenset(record.keys.values()) if record else frozenset[str]()
        self._in_run = in_run
        self._submitted: Counter[str] = Counter()
        """How often each call of a run was submitted; "" counts them all elsewhere."""
        self._fresh = 0

    def label(self, content: Content) -> tuple[str, bytes]:
        """Return what names a call beside its number, and its pickle.

        Raises
        ------
        RequestError
            If it cannot be pickled.
        """
        name = name_of(content[0])
        payload = pickle_input(content, what=f"the call of {name}")
        base = name[:LONGEST_NAME] if name.isidentifier() else "call"
        if self._in_run:
            base = f"{base}-{digest_input(content, payload, size=8)}"
        return base, payload

    def key(self, base: str) -> str:
        """Return the key of the next call with that label. One thread at a time."""
        counted = base if self._in_run else ""
        self._submitted[counted] += 1
        count = self._submitted[counted]
        return base if self._in_run and count == 1 else f"{base}-{count}"

    @property
    def count(self) -> int:
        """Calls that the run knows, and those that went out in this session."""
        return len(self._recorded) + self._fresh

    def name(self, call: Call, *, created: float) -> Task:
        """Return the task of a call that goes out."""
        known = call.key in self._recorded
        position = self.count
        self._fresh += not known
        return Task(self.stage, call.key, call.payload, created, position, "", known)
