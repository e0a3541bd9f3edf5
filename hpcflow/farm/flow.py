"""What `map` and `stream` return: tasks in, outcomes out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hpcflow.clock import Clock
from hpcflow.core.task import AnyOutcome
from hpcflow.errors import RequestError
from hpcflow.farm.mail import CancelStage, EndStage, Give, Nudge, OpenStage, Request
from hpcflow.farm.request import StageRequest
from hpcflow.farm.stage import Inbox, Naming, Replay
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.resume import Recorded

UNREAD_LIMIT = 20_000
"""Outcomes that may wait for a slow driver before no further tasks are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """What a stage uses of its farm."""

    post: Callable[[Request], None]
    clock: Clock
    directory: RunDirectory | None
    recorded: Recorded | None
    fingerprint: str


class _Feeder:
    """Reads tasks on a thread of its own, as many as the dispatcher wants."""

    def __init__(
        self, request: StageRequest, items: Iterator[Any], *, naming: Naming, port: Port
    ) -> None:
        self._stage = request.name
        self._items = items
        self._naming = naming
        self._port = port
        self._permits = threading.Semaphore(0)
        self._roomy = threading.Event()
        self._stopped = False
        run = None if port.directory is None else port.directory.path
        self.inbox = Inbox(run, limit=UNREAD_LIMIT, on_room=self._on_room)

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"hpcflow-{self._stage}", daemon=True).start()

    def grant(self, count: int) -> None:
        self._permits.release(count)

    def stop(self) -> None:
        self._stopped = True
        self._permits.release()
        self._roomy.set()

    @property
    def count(self) -> int:
        return self._naming.count

    def _on_room(self) -> None:
        self._roomy.set()
        self._port.post(Nudge())

    def _run(self) -> None:
        try:
            self._permits.acquire()
            for item in self._items:
                if self._stopped:
                    return
                self._pass_on(item)
            self._port.post(EndStage(self._stage, self._naming.count))
        except BaseException as error:  # noqa: BLE001  # whatever the iterable raises
            self.inbox.end(error)

    def _pass_on(self, item: Any) -> None:
        named = self._naming.name(item)
        recorded = self._port.recorded
        outcome = None if recorded is None else recorded.outcome(self._stage, named.key)
        if outcome is None:
            self._port.post(Give(self._stage, named, self._port.clock.now()))
            self._permits.acquire()
            return
        self.inbox.put_replayed(outcome)
        self._roomy.clear()
        while self.inbox.full and not self._stopped:
            self._roomy.wait()
            self._roomy.clear()


class Outcomes(Iterator[AnyOutcome]):
    """The outcomes of a `map`, as they are completed."""

    def __init__(
        self, request: StageRequest, items: Iterator[Any], *, naming: Naming, port: Port
    ) -> None:
        self._stage = request.name
        self._post = port.post
        self._feeder = _Feeder(request, items, naming=naming, port=port)
        self._ended = False
        port.post(OpenStage(request, self._feeder.inbox, self._feeder.grant, port.fingerprint))
        self._feeder.start()

    def __next__(self) -> AnyOutcome:
        if self._ended:
            raise StopIteration
        outcome = self._feeder.inbox.take()
        if outcome is None:
            self._ended = True
            raise StopIteration
        return outcome

    def close(self) -> None:
        """Give up what is not done: no further task is read, and what runs is killed."""
        if not self._ended:
            self._cancel(for_good=True)

    def _cancel(self, *, for_good: bool) -> None:
        self._ended = True
        self._feeder.stop()
        self._post(CancelStage(self._stage, self._feeder.count, for_good=for_good))

    def __del__(self) -> None:
        """Free the slots; whether that is for good shows when the farm closes."""
        with contextlib.suppress(AttributeError):  # it may not have been made whole
            if not self._ended:
                self._cancel(for_good=False)


class Stream(Iterator[AnyOutcome]):
    """Tasks submitted one by one, and their outcomes as they are completed.

    Iteration ends when nothing is in flight; after further submissions it may begin again. In a
    resumed run, recorded outcomes come back first and in the order in which they were recorded, so
    a driver whose submissions depend on outcomes alone submits the same tasks again.
    """

    def __init__(self, request: StageRequest, *, naming: Naming, port: Port) -> None:
        self._stage = request.name
        self._port = port
        self._naming = naming
        self._replay = Replay(port.recorded, request.name)
        self._lock = threading.Lock()
        self._taken = 0
        self._closed = False
        run = None if port.directory is None else port.directory.path
        self._inbox = Inbox(run, limit=UNREAD_LIMIT, on_room=lambda: None)
        port.post(OpenStage(request, self._inbox, lambda _: None, port.fingerprint))

    @property
    def submitted(self) -> int:
        """Tasks submitted so far, replayed ones included."""
        return self._naming.count

    @property
    def in_flight(self) -> int:
        """Tasks submitted whose outcomes have not been taken yet."""
        return self._naming.count - self._taken

    def submit(self, task: Any, key: str | None = None) -> str:
        """Submit a task and return its key.

        Parameters
        ----------
        task
            Input of the function.
        key
            Name of the task; as the stream was asked to name tasks if None.

        Raises
        ------
        RequestError
            If the task cannot be pickled or named, is not the one recorded at this point of a
            resumed run, or the stream is closed.
        """
        with self._lock:
            if self._closed:
                raise RequestError(
                    f"cannot submit to stream {self._stage!r}: it is closed. Open another stage."
                )
            named = self._naming.name(task, key)
            if not self._replay.submit(named.key):
                self._port.post(Give(self._stage, named, self._port.clock.now()))
        return named.key

    def submit_all(self, tasks: Iterable[Any]) -> list[str]:
        """Submit every task and return their keys."""
        return [self.submit(task) for task in tasks]

    def __next__(self) -> AnyOutcome:
        with self._lock:
            running = self.in_flight - self._replay.due
            outcome = self._replay.take(in_order=running > 0)
        if outcome is None and running > 0:
            outcome = self._inbox.take()
        if outcome is None:
            raise StopIteration
        self._taken += 1
        return outcome

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
