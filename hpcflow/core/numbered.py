"""Tasks in columns: fresh tasks at consecutive positions whose inputs are numbers.

A farm may be fed a million of them a second, which leaves no time to make an object of each. They
are cut, sent and recorded by the column, and a `Task` is made only of one that has to be looked at:
whose attempt failed, or whose slot vanished.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import overload

from hpcflow.core.stimulus import Task

Number = float | None
"""A number, a truth value, or None."""
_COST = attrgetter("cost")


class Numbered(Sequence[Task]):
    """Tasks that nobody has named, weighed, or run before; as immutable as a tuple.

    Examples
    --------
    >>> tasks = Numbered("square", 5, values=[0.5, 2], created=[1.0, 1.0])
    >>> tasks.keys, tasks[1:].first, tasks[1].number
    (['5-0.5', '6-2'], 6, 2)
    """

    __slots__ = ("_keys", "created", "first", "stage", "values")

    def __init__(
        self,
        stage: str,
        first: int,
        *,
        values: list[Number],
        created: list[float],
        keys: list[str] | None = None,
    ) -> None:
        """Take over columns of equal length.

        Parameters
        ----------
        stage
            Their stage.
        first
            Position of the first of them.
        values
            Their inputs.
        created
            When each was read [s since the epoch].
        keys
            Their names, if they are known already.
        """
        self.stage = stage
        self.first = first
        self.values = values
        self.created = created
        self._keys = keys

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Numbered: ...
    def __getitem__(self, index: int | slice) -> Task | Numbered:
        if isinstance(index, slice):
            return Numbered(
                self.stage,
                self.first + index.indices(len(self.values))[0],
                values=self.values[index],
                created=self.created[index],
                keys=None if self._keys is None else self._keys[index],
            )
        value, position = self.values[index], self.first + index % len(self.values)
        key = number_key(position, value)
        return Task(self.stage, key, b"", self.created[index], position, "", False, value)

    @property
    def keys(self) -> list[str]:
        """Their names, made when somebody asks."""
        if self._keys is None:
            first = self.first
            self._keys = [f"{n}-{value!r}" for n, value in enumerate(self.values, first)]
        return self._keys

    def precedes(self, others: Numbered) -> bool:
        """Return whether the positions of others follow on from these."""
        return others.first == self.first + len(self.values)

    def __add__(self, others: Numbered) -> Numbered:
        """Return these and others of the stage, which they precede."""
        keys = None
        if self._keys is not None and others._keys is not None:
            keys = self._keys + others._keys
        return Numbered(
            self.stage,
            self.first,
            values=self.values + others.values,
            created=self.created + others.created,
            keys=keys,
        )


def number_key(position: int, value: Number) -> str:
    """Return the name of a task that is named by its place and its input, a number."""
    return f"{position}-{value!r}"


def keys_of(tasks: Sequence[Task]) -> list[str]:
    """Return the names of tasks."""
    return tasks.keys if isinstance(tasks, Numbered) else [task.key for task in tasks]


def cost_of(tasks: Sequence[Task]) -> float:
    """Return what tasks cost together."""
    return float(len(tasks)) if isinstance(tasks, Numbered) else sum(map(_COST, tasks))


def created_of(tasks: Sequence[Task]) -> list[float]:
    """Return when each of some tasks was read or submitted [s since the epoch]."""
    return tasks.created if isinstance(tasks, Numbered) else [task.created for task in tasks]
