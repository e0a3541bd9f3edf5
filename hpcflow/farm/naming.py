"""The names of a stage's tasks, held against what the journal knows of them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from hpcflow.core.numbered import Numbered, number_key
from hpcflow.core.stimulus import Task
from hpcflow.core.task import check_key
from hpcflow.errors import RequestError
from hpcflow.farm.pickling import (
    ATOMS,
    are_short_numbers,
    digest_input,
    is_short_number,
    pickle_input,
)
from hpcflow.farm.request import StageRequest
from hpcflow.journal.resume import StageRecord


class Naming:
    """Names the tasks of a stage, and holds them against what the journal knows of them."""

    def __init__(
        self, request: StageRequest, record: StageRecord | None, *, reuse_changed: bool
    ) -> None:
        self._stage = request.name
        self._key = request.key
        self._record = record
        self._reuse_changed = reuse_changed
        self._weights = request.weights
        self._weighs = request.policy.ordered
        self._is_plain = request.key is None and record is None and not request.policy.ordered
        """Whether tasks are named by position and content, and there is nothing to compare with."""
        self._position = 0
        self._seen: set[str] = set()

    @property
    def count(self) -> int:
        """Tasks named so far."""
        return self._position

    def name(
        self,
        value: Any,
        key: str | None = None,
        *,
        created: float,
        cost: float | None = None,
        priority: float | None = None,
    ) -> Task:
        """Return the next task: its name, its content and what it weighs.

        Parameters
        ----------
        value
            The input.
        key, cost, priority
            As the stage was asked to tell them if None.
        created
            When it was read or submitted [s since the epoch].

        Raises
        ------
        RequestError
            If it cannot be pickled, if its key is no key or was given before, if its cost or
            priority is no number, or if the run knows it with another content.
        """
        position = self._position
        if self._is_plain and key is None and cost is priority is None and is_short_number(value):
            self._position = position + 1
            name = number_key(position, value)
            return Task(self._stage, name, b"", created, position, "", False, value)
        if key is None and self._key is not None:
            key = self._key(value)
        if is_short_number(value):
            payload, digest, number = b"", repr(value), value
        else:
            payload, digest, number = *self._packed(value, key), None
        if key is None:
            key, digest, known = self._key_by_position(position, f"{position}-{digest}")
        else:
            self._claim(check_key(key))
            known = self._is_known(key, digest)
        task = Task(self._stage, key, payload, created, position, digest, known, number)
        if cost is not None or priority is not None:
            self._check_weighs()
        if self._weighs:
            task.cost = self._weights.cost(value, position, cost)
            task.priority = self._weights.priority(value, position, priority)
        self._position = position + 1
        return task

    def name_numbers(self, values: list[Any], *, created: float) -> Numbered | None:
        """Return the next tasks in columns, where none of them has to be looked at.

        None if they have: not all are short numbers, or the stage has keys, weights or a record.
        """
        if not self._is_plain or not are_short_numbers(values):
            return None
        first, self._position = self._position, self._position + len(values)
        return Numbered(self._stage, first, values=values, created=[created] * len(values))

    def _packed(self, value: Any, key: str | None) -> tuple[bytes, str]:
        """Return an input's pickle and its digest."""
        if type(value) in ATOMS:
            payload = pickle.dumps(value, 5)
        else:
            label = f"task {self._position if key is None else repr(key)} of stage {self._stage!r}"
            payload = pickle_input(value, what=label)
        return payload, digest_input(value, payload)

    def _check_weighs(self) -> None:
        if not self._weighs:
            raise RequestError(
                f"cannot weigh a task of stage {self._stage!r}: its tasks go out as given. Open it"
                ' with order="priority" or order="longest-first".'
            )

    def rehearse(self, values: Sequence[Any]) -> None:
        """Refuse what can be before anything runs: keys, costs, and types that cannot travel.

        Raises
        ------
        RequestError
            As `name`.
        """
        if self._key is not None:
            for value in values:
                self._claim(check_key(self._key(value)))
        self._weights.check_count(len(values))
        for position, value in enumerate(values if self._weighs else ()):
            self._weights.cost(value, position, None)
            self._weights.priority(value, position, None)
        kinds = list(map(type, values))
        for position in map(kinds.index, set(kinds)):
            pickle_input(values[position], what=f"task {position} of stage {self._stage!r}")

    def _claim(self, key: str) -> None:
        if key in self._seen:
            raise RequestError(
                f"cannot name two tasks {key!r} in stage {self._stage!r}: a key names one task."
                " Make the keys unique."
            )
        self._seen.add(key)

    def _key_by_position(self, position: int, key: str) -> tuple[str, str, bool]:
        """Return key, digest and whether the run knows it; refuse one with another content."""
        recorded = None if self._record is None else self._record.keys.get(position)
        if recorded is None:
            return key, "", False
        if recorded != key and not self._reuse_changed:
            raise self._changed(f"task {position} (recorded as {recorded!r}, now {key!r})")
        return recorded, "", True

    def _is_known(self, key: str, digest: str) -> bool:
        """Return whether the run knows a named task; refuse one with another content."""
        recorded = None if self._record is None else self._record.digests.get(key)
        if recorded not in (None, digest) and not self._reuse_changed:
            raise self._changed(f"task {key!r}")
        return recorded is not None

    def _changed(self, what: str) -> RequestError:
        return RequestError(
            f"cannot resume stage {self._stage!r}: the input of {what} is not the one that the"
            " run was started with. Use a new run directory, or Farm(reuse_changed=True) to keep"
            " what was recorded. A driver that draws random numbers must seed them (farm.seed)."
        )
