"""The tasks of a stage that wait for a slot, in the order in which they go out."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Protocol

from hpcflow.core.chunking import LARGEST
from hpcflow.core.numbered import Numbered
from hpcflow.core.stimulus import Policy, Task

MOST_BYTES = 8 << 20
"""A chunk takes no further task once its inputs reach this [bytes]."""
_PAYLOAD = attrgetter("payload")


class Backlog(Protocol):
    """Tasks that wait."""

    @property
    def cost(self) -> float:
        """Cost of all of them."""
        ...

    @property
    def mean_cost(self) -> float:
        """Mean cost of all tasks that have come so far."""
        ...

    @property
    def size(self) -> int:
        """Bytes of all their inputs, where the order asks for many of them."""
        ...

    def __len__(self) -> int:
        """Return how many wait."""
        ...

    def next_cost(self) -> float:
        """Return the cost of the task that goes out next; there is one."""
        ...

    def extend(self, tasks: Sequence[Task]) -> None:
        """Let further tasks wait."""
        ...

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Let tasks wait again that had gone out and were not started."""
        ...

    def take(self, cost: float) -> Sequence[Task]:
        """Take the next tasks: one at least, and no more than have about that cost together."""
        ...


def backlog_of(policy: Policy) -> Backlog:
    """Return the backlog that a stage's policy asks for."""
    return _Ordered(longest_first=policy.longest_first) if policy.ordered else _AsGiven()


class _AsGiven:
    """First in, first out; every task counts the same."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._numbered: Numbered | None = None
        """What comes after them."""

    def __len__(self) -> int:
        return len(self._tasks) + len(self._numbered or ())

    @property
    def cost(self) -> float:
        return len(self)

    @property
    def mean_cost(self) -> float:
        return 1.0

    @property
    def size(self) -> int:
        return 0

    def next_cost(self) -> float:
        return 1.0

    def extend(self, tasks: Sequence[Task]) -> None:
        waiting = self._numbered
        if isinstance(tasks, Numbered) and not waiting:
            self._numbered = tasks
        elif isinstance(tasks, Numbered) and waiting and waiting.precedes(tasks):
            self._numbered = waiting + tasks
        else:
            self._tasks.extend(waiting or ())
            self._tasks.extend(tasks)
            self._numbered = None

    def give_back(self, tasks: Sequence[Task]) -> None:
        self._tasks.extendleft(reversed(tasks))

    def take(self, cost: float) -> Sequence[Task]:
        count = max(1, min(int(cost), LARGEST))
        if self._tasks or self._numbered is None:
            return self._take_spelled_out(min(count, len(self._tasks)))
        taken, self._numbered = self._numbered[:count], self._numbered[count:]
        return taken

    def _take_spelled_out(self, count: int) -> list[Task]:
        waiting = self._tasks
        taken = [waiting.popleft() for _ in range(count)]
        if sum(map(len, map(_PAYLOAD, taken))) > MOST_BYTES:
            fit = _fitting(taken)
            self.give_back(taken[fit:])
            del taken[fit:]
        return taken


class _Ordered:
    """By priority, then, if asked for, the longest first, then as given."""

    def __init__(self, *, longest_first: bool) -> None:
        self._longest_first = longest_first
        self._heap: list[tuple[float, float, int, Task]] = []
        self._numbers = itertools.count()
        self._come = 0
        self._cost_of_all = 0.0
        self.cost = 0.0
        self.size = 0

    def __len__(self) -> int:
        return len(self._heap)

    def next_cost(self) -> float:
        return self._heap[0][3].cost

    @property
    def mean_cost(self) -> float:
        return self._cost_of_all / self._come if self._come else 1.0

    def extend(self, tasks: Sequence[Task]) -> None:
        self._come += len(tasks)
        for task in tasks:
            self._cost_of_all += task.cost
            self._push(task, next(self._numbers))

    def give_back(self, tasks: Sequence[Task]) -> None:
        for task in reversed(tasks):
            self._push(task, -next(self._numbers))

    def _push(self, task: Task, number: int) -> None:
        length = -task.cost if self._longest_first else 0.0
        heapq.heappush(self._heap, (-task.priority, length, number, task))
        self.cost += task.cost
        self.size += len(task.payload)

    def take(self, cost: float) -> list[Task]:
        taken = [self._pop()]
        total, size = taken[0].cost, len(taken[0].payload)
        while self._heap and total < cost and len(taken) < LARGEST and size < MOST_BYTES:
            total += self.next_cost()
            if total > cost:
                break
            taken.append(self._pop())
            size += len(taken[-1].payload)
        return taken

    def _pop(self) -> Task:
        task = heapq.heappop(self._heap)[3]
        self.cost = self.cost - task.cost if self._heap else 0.0
        self.size -= len(task.payload)
        return task


def _fitting(tasks: Sequence[Task]) -> int:
    """Return how many of the tasks fit in a chunk; the one that fills it counts."""
    size = 0
    for count, task in enumerate(tasks, start=1):
        size += len(task.payload)
        if size >= MOST_BYTES:
            return count
    return len(tasks)
