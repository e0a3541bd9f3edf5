"""One map or stream: its tasks on their way out, and its outcomes on their way to the driver."""

from __future__ import annotations

import enum
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcflow.core.event import SlotJoined, TasksSucceeded
from hpcflow.core.numbered import Numbered
from hpcflow.core.stimulus import Task
from hpcflow.core.task import AnyOutcome
from hpcflow.journal.outcome import FinalEvent, outcomes_of
from hpcflow.journal.resume import Recorded


class Tray:
    """Tasks on their way to the dispatcher: any thread puts them, its loop takes all at once."""

    def __init__(self, notify: Callable[[], None]) -> None:
        """Make an empty tray.

        Parameters
        ----------
        notify
            Called when a task lies there and the loop has not been told of any yet.
        """
        self._notify = notify
        self._tasks: deque[Task | Numbered] = deque()
        self._told = False

    def put(self, task: Task | Numbered) -> None:
        """Lay a task down, or several."""
        self._tasks.append(task)
        if not self._told:
            self._told = True
            self._notify()

    def take(self) -> list[Sequence[Task]]:
        """Take what lies there; whatever is put down from now on is told again.

        Who reads numbers several at a time does so first, and then goes on one by one.
        """
        self._told = False
        taken: list[Sequence[Task]] = []
        apart: list[Task] = []
        for _ in range(len(self._tasks)):
            task = self._tasks.popleft()
            if isinstance(task, Task):
                apart.append(task)
            else:
                taken.append(task)
        return [*taken, apart] if apart else taken


class Woken(enum.Enum):
    """The one object that stands for no outcome, but a reason to look around."""

    WOKEN = enum.auto()


WOKEN = Woken.WOKEN


class Inbox:
    """Outcomes that wait for the driver, in the order of their arrival.

    One thread takes; any may put. It is full from `limit` on until half of that has been taken;
    it takes more even then, but its sources look at `full` and pause. An outcome weighs 1, and 1
    more for each `BYTES_A_WEIGHT` of a value that is held in memory.
    """

    def __init__(
        self,
        run: Path | None,
        *,
        limit: int,
        on_room: Callable[[], None] = lambda: None,
        on_settled: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Make an empty inbox.

        Parameters
        ----------
        run
            The run directory, for values in payload files.
        limit
            Weight from which it is full.
        on_room
            Called when it is not full any more.
        on_settled
            Called with the number of outcomes that an event has brought, and with 0 at the end.
        """
        self._run = run
        self._limit = limit
        self._on_room = on_room
        self._on_settled = on_settled
        self._queue: queue.SimpleQueue[_Batch | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unread = 0
        self._weight = 0
        self.rest: Iterator[AnyOutcome | Woken] = iter(())
        """What is not taken of the outcomes that came together."""
        self.full = False
        self.ended = False
        """Whether all outcomes have been taken, and there will be no other."""
        self.error: BaseException | None = None
        """What went wrong, if the end has come of that."""

    def put(self, event: FinalEvent, place: SlotJoined) -> None:
        """Add what an event records."""
        self._put(_Batch(outcomes_of(event, place, self._run), _weight(event)))
        self._on_settled(len(event.keys) if isinstance(event, TasksSucceeded) else 1)

    def put_replayed(self, outcome: AnyOutcome) -> None:
        """Add an outcome that was read back."""
        self._put(_Batch(iter((outcome,)), 1))

    def _put(self, batch: _Batch) -> None:
        with self._lock:
            self._unread += batch.weight
            self.full = self.full or self._unread >= self._limit
        self._queue.put(batch)

    def wake(self) -> None:
        """Let `take` return `WOKEN` to a thread that waits in it, or to the next one."""
        self._queue.put(_Batch(iter((WOKEN,)), 0))

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing follows: all is done, or something went wrong."""
        self.error = error
        self._queue.put(error)
        self._on_settled(0)

    def take(self) -> AnyOutcome | Woken | None:
        """Wait for the next outcome; None at the end, `WOKEN` where there is something to see to.

        Raises
        ------
        BaseException
            What `end` was given.
        """
        while True:
            outcome = next(self.rest, None)
            if outcome is not None or not self.advance():
                return outcome

    def advance(self) -> bool:
        """Wait for the next outcomes, once there is no `rest`; return False at the end.

        Raises
        ------
        BaseException
            What `end` was given.
        """
        self._make_room()
        item = self._queue.get()
        if item is None or isinstance(item, BaseException):
            self._queue.put(item)
            if item is not None:
                raise item
            self.ended = True
            return False
        self.rest, self._weight = item.outcomes, item.weight
        return True

    def _make_room(self) -> None:
        with self._lock:
            self._unread -= self._weight
            self._weight = 0
            roomy = self.full and self._unread < self._limit // 2
            if roomy:
                self.full = False
        if roomy:
            self._on_room()


BYTES_A_WEIGHT = 10_000


@dataclass(frozen=True, slots=True)
class _Batch:
    outcomes: Iterator[AnyOutcome | Woken]
    weight: int


def _weight(event: FinalEvent) -> int:
    if not isinstance(event, TasksSucceeded):
        return 1
    held = sum(map(len, event.pickles.values()))
    return len(event.keys) + held // BYTES_A_WEIGHT


class Replay:
    """A stage's recorded outcomes, to be given out in the order in which they were recorded.

    A stream's driver decides what to submit next by what came back, so it must see the outcomes
    in the recorded order to submit the same tasks again.
    """

    def __init__(self, recorded: Recorded | None, stage: str) -> None:
        self._recorded = recorded
        self._stage = stage
        record = None if recorded is None else recorded.stages.get(stage)
        self._order = iter(()) if record is None else iter(tuple(record.final))
        self._next: str | None = next(self._order, None)
        self._due: dict[str, None] = {}
        self._early: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether nothing is left to be given out."""
        return self._next is None and not self._due

    def submit(self, key: str) -> bool:
        """Return whether the task's outcome is recorded, and if so expect it."""
        record = None if self._recorded is None else self._recorded.stages.get(self._stage)
        if record is None or key not in record.final:
            return False
        self._due[key] = None
        return True

    def take(self, *, in_order: bool) -> AnyOutcome | None:
        """Return the next outcome whose task has been submitted, or None.

        Parameters
        ----------
        in_order
            Whether to wait for the one that is next in recorded order.
        """
        if self._recorded is None or not self._due:
            return None
        while self._next is not None and self._next in self._early:
            self._early.remove(self._next)
            self._next = next(self._order, None)
        if self._next in self._due:
            key = str(self._next)
            self._next = next(self._order, None)
        elif in_order:
            return None
        else:
            key = next(iter(self._due))
            self._early.add(key)
        del self._due[key]
        return self._recorded.outcome(self._stage, key)

    @property
    def due(self) -> int:
        """Replays that were submitted and not yet taken."""
        return len(self._due)
