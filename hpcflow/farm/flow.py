"""What `map` and `stream` return: tasks in, outcomes out."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, cast

from hpcflow.clock import Clock
from hpcflow.core.stimulus import Task
from hpcflow.core.task import AnyOutcome
from hpcflow.errors import BrokenFarmError, HpcflowError, RequestError
from hpcflow.farm.mail import CancelStage, EndStage, Give, Nudge, OpenStage, Request
from hpcflow.farm.naming import Naming
from hpcflow.farm.request import StageRequest
from hpcflow.farm.stage import WOKEN, Inbox, Replay, Tray, Woken
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.resume import Recorded

UNREAD_LIMIT = 20_000
"""Outcomes that may wait for a slow driver before no further tasks are read."""
_AT_HAND: tuple[type, ...] = (type(iter([])), type(iter(())), type(iter(range(0))))
"""Iterators whose items are all there: none has to be waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """What a stage uses of its farm."""

    post: Callable[[Request], None]
    clock: Clock
    directory: RunDirectory | None
    recorded: Recorded | None
    fingerprint: str


class Names(Protocol):
    """Makes tasks of what a map reads; `Naming` of inputs, `CallNaming` of an executor's calls."""

    @property
    def count(self) -> int:
        """Tasks of the stage so far."""
        ...

    def name(self, value: Any, /, *, created: float) -> Task:
        """Return the next task."""
        ...


class _Feeder:
    """Reads tasks on a thread of its own, as many as the dispatcher wants."""

    def __init__(
        self, request: StageRequest, items: Iterator[Any], *, naming: Names, port: Port
    ) -> None:
        self._stage = request.name
        self._items = items
        self._naming = naming
        self._port = port
        self._granted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._roomy = threading.Event()
        self._stopped = False
        run = None if port.directory is None else port.directory.path
        self.inbox = Inbox(run, limit=UNREAD_LIMIT, on_room=self._on_room)
        self.tray = Tray(lambda: port.post(Give(request.name)))

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"hpcflow-{self._stage}", daemon=True).start()

    def grant(self, count: int) -> None:
        self._granted.put(count)

    def stop(self) -> None:
        self._stopped = True
        self._granted.put(1)
        self._roomy.set()

    @property
    def count(self) -> int:
        return self._naming.count

    def _on_room(self) -> None:
        self._roomy.set()
        self._port.post(Nudge())

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001  # whatever the iterable raises
            self.inbox.end(error)

    def _read(self) -> None:
        granted = self._granted.get()
        if isinstance(self._naming, Naming) and type(self._items) in _AT_HAND:
            granted = self._read_numbers(self._naming, granted)
        if not self._stopped:
            self._read_each(granted)
        if not self._stopped:
            self._port.post(EndStage(self._stage, self._naming.count))

    def _read_numbers(self, naming: Naming, granted: int) -> int:
        """Read numbers, as many at a time as are granted; return what is left of the last grant.

        It ends with the first inputs that have to be looked at one by one.
        """
        while not self._stopped:
            run = list(itertools.islice(self._items, granted))
            tasks = naming.name_numbers(run, created=self._port.clock.now())
            if not tasks:
                self._items = itertools.chain(run, self._items)
                break
            self.tray.put(tasks)
            granted -= len(run)
            granted = granted or self._granted.get()
        return granted

    def _read_each(self, granted: int) -> None:
        """Read a task for each that is granted; one that is replayed takes up no grant."""
        name, put, now = self._naming.name, self.tray.put, self._port.clock.now
        recorded = self._port.recorded
        for item in self._items:
            if self._stopped:
                return
            task = name(item, created=now())
            outcome = None if recorded is None else recorded.outcome(self._stage, task.key)
            if outcome is None:
                put(task)
                granted -= 1
                if not granted:
                    granted = self._granted.get()
            else:
                self._replay(outcome)

    def _replay(self, outcome: AnyOutcome) -> None:
        self.inbox.put_replayed(outcome)
        self._roomy.clear()
        while self.inbox.full and not self._stopped:
            self._roomy.wait()
            self._roomy.clear()


class Outcomes(Iterator[AnyOutcome]):
    """The outcomes of a `map`, as they are completed."""

    def __init__(
        self, request: StageRequest, items: Iterator[Any], *, naming: Names, port: Port
    ) -> None:
        feeder = _Feeder(request, items, naming=naming, port=port)
        port.post(OpenStage(request, feeder.inbox, feeder.tray, feeder.grant, port.fingerprint))
        self.claim = Claim(request.name, feeder, port.post)
        self._inbox = feeder.inbox
        feeder.start()

    def __iter__(self) -> Iterator[AnyOutcome]:  # noqa: PYI034  # a faster one than itself
        """Go on where the last iteration left off."""
        return _read(self._inbox, self.claim)

    def __next__(self) -> AnyOutcome:
        outcome = None if self.claim.given_up else self._inbox.take()
        if outcome is None:
            raise StopIteration
        assert outcome is not WOKEN, "nobody wakes the reader of a map"
        return outcome

    def close(self) -> None:
        """Give up what is not done: no further task is read, and what runs is killed."""
        self.claim.close()


class Claim:
    """A map's claim to slots, given up once nobody can ask for its outcomes any more.

    A loop's iterator holds it as well: `Outcomes` itself need not outlive the head of the loop.
    """

    def __init__(self, stage: str, feeder: _Feeder, post: Callable[[Request], None]) -> None:
        """Begin with what reads the map's tasks, and where to say that it ends."""
        self._stage = stage
        self._feeder = feeder
        self._post = post
        self.given_up = False

    def close(self) -> None:
        """Give it up for good."""
        self._give_up(for_good=True)

    def _give_up(self, *, for_good: bool) -> None:
        if not (self.given_up or self._feeder.inbox.ended):
            self.given_up = True
            self._feeder.stop()
            self._post(CancelStage(self._stage, self._feeder.count, for_good=for_good))

    def __del__(self) -> None:
        """Free the slots; whether that is for good shows when the farm closes."""
        self._give_up(for_good=False)


def _read(inbox: Inbox, claim: Claim) -> Iterator[AnyOutcome]:
    """Yield a map's outcomes; what came together goes through without a call for each."""
    more = not claim.given_up
    while more:
        for outcome in cast("Iterator[AnyOutcome]", inbox.rest):  # nobody wakes a map's reader
            yield outcome
            if claim.given_up:
                return
        more = inbox.advance()


class Stream(Iterator[AnyOutcome]):
    """Tasks submitted one by one, and their outcomes as they are completed.

    Iteration ends when nothing is in flight; after further submissions it may begin again. In a
    resumed run, recorded outcomes come back first and in the order in which they were recorded, so
    a driver whose submissions depend on outcomes alone submits the same tasks again.
    """

    def __init__(
        self, request: StageRequest, *, naming: Naming, port: Port, most_in_flight: int | None
    ) -> None:
        self._stage = request.name
        self._port = port
        self._now = port.clock.now
        self._naming = naming
        self._replay = Replay(port.recorded, request.name)
        self._lock = threading.Lock()
        self._settling = threading.Condition(self._lock)
        self._most_in_flight = most_in_flight
        self._out = 0
        """Tasks handed to the dispatcher and not settled."""
        self._taken = 0
        self._waiting = False
        """Whether the driver waits for an outcome, or is about to."""
        self._closed = False
        self.peak_in_flight = 0
        """Most tasks that were in flight at a time."""
        run = None if port.directory is None else port.directory.path
        self._inbox = Inbox(run, limit=UNREAD_LIMIT, on_settled=self._settled)
        self._tray = Tray(lambda: port.post(Give(request.name)))
        port.post(OpenStage(request, self._inbox, self._tray, lambda _: None, port.fingerprint))

    def _settled(self, count: int) -> None:
        if self._most_in_flight is not None:
            with self._lock:
                self._out -= count
                self._settling.notify_all()

    @property
    def submitted(self) -> int:
        """Tasks submitted so far, replayed ones included."""
        return self._naming.count

    @property
    def in_flight(self) -> int:
        """Tasks submitted whose outcomes have not been taken yet."""
        return self._naming.count - self._taken

    def submit(
        self,
        task: Any,
        key: str | None = None,
        *,
        cost: float | None = None,
        priority: float | None = None,
    ) -> str:
        """Submit a task and return its key. Any thread may.

        Parameters
        ----------
        task
            Input of the function.
        key
            Name of the task; as the stream was asked to name tasks if None.
        cost, priority
            Of this task, in a stream that was opened with an order other than as given; as the
            stream was asked to weigh tasks if None.

        Raises
        ------
        RequestError
            If the task cannot be pickled or named, is not the one recorded at this point of a
            resumed run, or the stream is closed.
        BrokenFarmError
            If the farm has broken, also while this waits for room.
        """
        with self._lock:
            if self._most_in_flight is not None:
                self._wait_for_room(self._most_in_flight)
            if self._closed or self._inbox.error is not None:
                raise self._refusal()
            named = self._naming.name(task, key, created=self._now(), cost=cost, priority=priority)
            in_flight = self._naming.count - self._taken
            self.peak_in_flight = max(self.peak_in_flight, in_flight)
            if self._replay.over or not self._replay.submit(named.key):
                self._out += 1
                self._tray.put(named)
            elif self._waiting:
                self._inbox.wake()
        return named.key

    def _wait_for_room(self, most: int) -> None:
        """Hold a submission up while as many tasks as may be are out. The lock is held."""
        self._settling.wait_for(
            lambda: self._out < most or self._closed or self._inbox.error is not None
        )

    def _refusal(self) -> HpcflowError:
        error = self._inbox.error
        if error is None:
            return RequestError(
                f"cannot submit to stream {self._stage!r}: it is closed. Open another stage."
            )
        refusal = BrokenFarmError(
            f"cannot submit to stream {self._stage!r}: its farm broke, and says: {error}"
        )
        refusal.__cause__ = error
        return refusal

    def submit_all(self, tasks: Iterable[Any]) -> list[str]:
        """Submit every task and return their keys."""
        return [self.submit(task) for task in tasks]

    def __next__(self) -> AnyOutcome:
        outcome: AnyOutcome | Woken | None = WOKEN
        if self._replay.over and not self._closed:
            outcome = next(self._inbox.rest, WOKEN)
        while outcome is WOKEN:
            with self._lock:
                running = self.in_flight - self._replay.due
                outcome = self._replay.take(in_order=running > 0)
                self._waiting = outcome is None and running > 0
            if self._waiting:
                outcome = self._inbox.take()
        if outcome is None:
            raise StopIteration
        self._taken += 1
        return outcome

    def drain(self) -> list[AnyOutcome]:
        """Wait until nothing is in flight, and return the outcomes that had not been taken."""
        return list(self)

    def cancel(self) -> None:
        """Give up what is in flight (what waits is dropped, what runs is killed) and close."""
        self._close(CancelStage(self._stage, self._naming.count, for_good=True))

    def close(self) -> None:
        """Close the stream: no further submissions. What is in flight is given up."""
        if self.in_flight:
            self.cancel()
        else:
            self._close(EndStage(self._stage, self._naming.count))

    def _close(self, mail: Request) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._settling.notify_all()
                self._taken = self._naming.count
                self._port.post(mail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close(CancelStage(self._stage, self._naming.count, for_good=False))
