"""What the dispatcher keeps of a stage, and of a chunk on a slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hpcflow.core.backlog import backlog_of
from hpcflow.core.chunking import FLOOR_S, GROWTH, LARGEST, Chunker
from hpcflow.core.instruction import Chunk
from hpcflow.core.numbered import cost_of
from hpcflow.core.stimulus import Policy, Task

LOOKAHEAD = 1
"""Chunks kept ready in the client for each chunk that a slot may hold."""
ORDER_TASKS = 100_000
ORDER_BYTES = 64 << 20
"""A stage whose tasks are ordered is read this far ahead, if need be: tasks, or bytes of input."""


class Stage:
    """One stage: what waits, what is out, and what is known of its tasks."""

    def __init__(self, name: str, policy: Policy) -> None:
        """Begin without tasks."""
        self.name = name
        self.policy = policy
        self.chunker = Chunker(mixed=policy.mixed)
        self.waiting = backlog_of(policy)
        self.again: deque[Task] = deque()
        """Tasks with a history: they travel alone, before the others."""
        self.out = 0
        """Tasks on slots; one with a duplicate counts once."""
        self.exhausted = False

    @property
    def next_cost(self) -> float:
        """Cost of the task that goes out next; there is one."""
        return self.again[0].cost if self.again else self.waiting.next_cost()

    @property
    def chunk_tasks(self) -> float:
        """Tasks of the next chunk while the stage has plenty, if their costs are as ever."""
        if not self.chunker.learnt:
            return 1.0
        return min(self.chunker.size / self.waiting.mean_cost, GROWTH * LARGEST)

    def depth(self, slots: int) -> int:
        """Return how many chunks of the stage a slot may hold now; `slots` take its tasks.

        At the end of the stage nothing is parked unless it is soon done: the task behind which it
        waits may be the last.
        """
        if self.again and self.again[0].losses > 0:
            return 1
        ending = self.exhausted and self.ready <= 2 * slots
        if ending and self.chunker.expected_s(self.next_cost) > FLOOR_S:
            return 1
        return self.chunker.depth(self.next_cost)

    def vies(self, other: Stage) -> bool:
        """Whether two stages may want the same slots."""
        return (
            None in (self.policy.pool, other.policy.pool) or self.policy.pool == other.policy.pool
        )

    @property
    def ready(self) -> int:
        """Tasks that wait for a slot."""
        return len(self.waiting) + len(self.again)

    @property
    def finished(self) -> bool:
        """Whether every task is settled and no more will come."""
        return self.exhausted and not self.ready and not self.out

    def window(self, slots: int) -> int:
        """Return how many tasks may be offered and not settled, for `slots` to be fed."""
        chunk = max(1, int(self.chunk_tasks))
        depth = self.chunker.depth(self.waiting.mean_cost) if self.chunker.learnt else 1
        window = slots * (depth + LOOKAHEAD) * chunk
        if self.policy.ordered and self.waiting.size < ORDER_BYTES:
            return max(window, ORDER_TASKS)
        return window


class Flight:
    """A chunk on a slot, and how far its answers have come."""

    __slots__ = ("chunk", "cost", "done", "since", "twin", "void", "work_s")

    def __init__(self, chunk: Chunk, *, since: float) -> None:
        """Begin without answers; `since` is when it was sent, as far as ticks tell [s]."""
        self.chunk = chunk
        self.cost = cost_of(chunk.tasks)
        self.done = 0
        self.work_s = 0.0
        self.since = since
        self.twin: Flight | None = None
        """The other chunk with the same task, where an idle slot duplicates it."""
        self.void = False
        """Whether the other one has won: this one's answers count no more."""

    @property
    def solo(self) -> bool:
        """Whether nothing may wait behind it: its task was on a slot that vanished.

        Whatever ran next could end the slot again before the answer of this one is out, and it
        would be blamed for that.
        """
        return self.chunk.attempt > 1 and self.chunk.tasks[0].losses > 0

    def cut(self) -> Sequence[Task]:
        """Take off the tasks behind the one that runs, and return them."""
        chunk, last = self.chunk, self.done + 1
        rest = chunk.tasks[last:]
        chunk.tasks = chunk.tasks[:last]
        self.cost = cost_of(chunk.tasks)
        return rest

    @property
    def open(self) -> range:
        """Indices of the tasks that are not answered."""
        return range(self.done, len(self.chunk.tasks))

    @property
    def left(self) -> Sequence[Task]:
        """Tasks that are not answered."""
        return self.chunk.tasks[self.done :]
