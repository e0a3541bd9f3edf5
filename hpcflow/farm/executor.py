"""A farm as a standard executor: what takes a `concurrent.futures.Executor` can use its slots."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from hpcflow.core.task import AnyOutcome, Succeeded
from hpcflow.errors import BrokenFarmError, FarmError, RequestError
from hpcflow.farm.call import Call, CallNaming, Content, Several
from hpcflow.farm.flow import Outcomes

P = ParamSpec("P")
T = TypeVar("T")
_Waiting = tuple[Call, Future[Any]]


class FarmExecutor(Executor):
    """A `concurrent.futures.Executor` on the slots of a farm, from `Farm.executor`.

    What is submitted becomes a task like any other: it is recorded in the run, and a call that
    raises is a `Failed` outcome there. A call that crashes its process, or runs past its time
    limit, costs itself alone: its future raises `TaskError`, and the executor goes on.

    Examples
    --------
    >>> from hpcflow import Farm
    >>> with Farm(slots=1) as farm, farm.executor() as executor:
    ...     future = executor.submit(pow, 2, exp=5)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    32 [1, 2]
    """

    def __init__(self, calls: Calls) -> None:
        """Hand out calls; `Farm.executor` makes them."""
        self._calls = calls
        weakref.finalize(self, calls.expect_no_more).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` on a slot, and return its future. Any thread may submit.

        Function and arguments are pickled now: what is done to them later does not count. If that
        cannot be done, the future raises `RequestError`.

        Parameters
        ----------
        fn
            A lambda, a closure or a method will do.
        *args, **kwargs
            Its arguments.

        Raises
        ------
        FarmError
            If the executor was shut down, or its farm closed: a `RuntimeError`, too.
        BrokenFarmError
            If the farm has broken: a `concurrent.futures.BrokenExecutor`, too.
        """
        return self._calls.submit((fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Call a function with the items of the iterables, and return its values in their order.

        Everything is submitted at once, so no iterable may be endless; `Farm.map` reads lazily.

        Parameters
        ----------
        fn
            Called with one item of each iterable.
        *iterables
            Read until the shortest of them ends.
        timeout
            Longest time from now to any value [s]; no limit if None.
        chunksize
            How many calls make one task, and so one outcome: if one of them raises, the others of
            its task have no value either. Short tasks travel together in any case.

        Raises
        ------
        RequestError
            If `chunksize` is less than 1.
        FarmError
            As `submit`.
        TimeoutError
            In the iteration, if a value is not there in time. What has not started is cancelled.
        """
        if chunksize < 1:
            raise RequestError(
                f"cannot make tasks of {chunksize!r} calls: a task has at least 1. Raise"
                " `chunksize`, or leave it out."
            )
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        values = super().map(Several(fn), chunks, timeout=timeout)
        return itertools.chain.from_iterable(values)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls.

        Parameters
        ----------
        wait
            Whether to return only when every future is done. What is under way goes on in any
            case, until the farm is closed.
        cancel_futures
            Whether to cancel the futures of calls that have not been handed out.
        """
        reason = "it was shut down. Open another with farm.executor()."
        self._calls.end(reason, cancel=cancel_futures)
        if wait:
            self._calls.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Shut down and wait until every future is done; after Ctrl-C, wait for none."""
        interrupted = error is not None and not isinstance(error, Exception)
        self.shutdown(wait=not interrupted, cancel_futures=interrupted)


class Calls:
    """What was submitted to an executor, until each future is done.

    Three parties share it. Threads that submit put calls into a queue; the farm's feeder reads
    them from there, no further ahead than keeps the slots fed, so that the rest can be cancelled;
    a thread of its own gives the outcomes to the futures.
    """

    def __init__(self, naming: CallNaming) -> None:
        """Begin without calls."""
        self.naming = naming
        self._pid = os.getpid()
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        """Held to decide on what is taken in and handed out, never while callbacks run."""
        self._futures: dict[str, Future[Any]] = {}
        """Futures that are not done, by key."""
        self._closed: str | None = None
        """Why nothing is taken in any more."""
        self._over = False
        """Whether nothing is handed out any more."""
        self._error: BaseException | None = None
        """What broke the farm."""

    def follow(self, outcomes: Outcomes) -> None:
        """Give the outcomes of what `read` yields to the futures."""
        self._outcomes = outcomes
        name = f"hpcflow-{self.naming.stage}-futures"
        self._thread = threading.Thread(target=self._settle_all, name=name, daemon=True)
        self._thread.start()

    # -- from any thread

    def submit(self, content: Content) -> Future[Any]:
        """Put a call into the queue and return its future.

        Raises
        ------
        FarmError
            If no more calls are taken.
        """
        self._check_open()
        future: Future[Any] = Future()
        try:
            label, payload = self.naming.label(content)
        except RequestError as error:
            future.set_running_or_notify_cancel()
            future.set_exception(error)
            return future
        with self._lock:
            self._check_open()
            call = Call(self.naming.key(label), payload)
            self._futures[call.key] = future
            self._waiting.put((call, future))
        return future

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._broken(self._error)
        if self._closed is not None:
            raise FarmError(f"cannot submit to executor {self.naming.stage!r}: {self._closed}")
        if os.getpid() != self._pid:
            raise FarmError(
                f"cannot submit to executor {self.naming.stage!r}: this is a forked process, and"
                " the farm is its parent's. Submit from the process that opened the farm."
            )

    def end(self, reason: str, *, cancel: bool) -> None:
        """Take no further calls; where asked for, cancel those that were not handed out."""
        with self._lock:
            self._closed = self._closed or reason
        if cancel:
            for waiting in self._take_waiting():
                self._cancel(*waiting)
        self.expect_no_more()

    def expect_no_more(self) -> None:
        """Let the reader end after the calls that wait. Safe wherever garbage is collected."""
        self._waiting.put(None)

    def wait(self) -> None:
        """Wait until every future is done; not in a callback, which holds up those that follow."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def close(self) -> None:
        """End at once: what was not handed out is cancelled, and what runs is killed."""
        self.end("its farm was closed. Open another farm.", cancel=True)
        if self._futures:
            self._outcomes.close()
        self.wait()

    def _take_waiting(self) -> Iterator[_Waiting]:
        while True:
            try:
                waiting = self._waiting.get_nowait()
            except queue.Empty:
                return
            if waiting is not None:
                yield waiting

    def _cancel(self, call: Call, future: Future[Any]) -> None:
        """Cancel a call that nobody else has in hand, and tell those who wait for it."""
        del self._futures[call.key]
        future.cancel()
        future.set_running_or_notify_cancel()

    # -- on the farm's threads

    def read(self) -> Iterator[Call]:
        """Yield the calls that are not cancelled, as they are submitted, until there are no more.

        From then on they cannot be cancelled. No future is held while waiting for the next call:
        its value may be large.
        """
        while (waiting := self._waiting.get()) is not None:
            call, future = waiting
            with self._lock:
                over = self._over
                handed_out = not over and future.set_running_or_notify_cancel()
            if over:
                self._drop(call, future)
            elif not handed_out:
                del self._futures[call.key]
            del waiting, future
            if handed_out:
                yield call

    def _settle_all(self) -> None:
        error: BaseException | None = None
        try:
            for outcome in self._outcomes:
                _settle(self._futures.pop(outcome.key), outcome)
                del outcome  # it is not held while waiting for the next one
        except BaseException as caught:  # noqa: BLE001  # no future may be left to wait for ever
            error = caught
        self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        """See to it that every future is done, now that no outcome follows."""
        with self._lock:
            self._error, self._over = error, True
        self._outcomes.close()
        for waiting in self._take_waiting():
            self._drop(*waiting)
        self.expect_no_more()
        for key, future in list(self._futures.items()):
            if future.running():
                del self._futures[key]
                future.set_exception(self._broken(error))

    def _drop(self, call: Call, future: Future[Any]) -> None:
        """Cancel a call that will not be handed out; where the farm broke, let it fail."""
        if self._error is None:
            self._cancel(call, future)
            return
        del self._futures[call.key]
        if future.set_running_or_notify_cancel():
            future.set_exception(self._broken(self._error))

    def _broken(self, error: BaseException | None) -> BrokenFarmError:
        what = f"cannot get values from executor {self.naming.stage!r}: its farm"
        broken = BrokenFarmError(
            f"{what} was closed. Wait for the futures before you close it."
            if error is None
            else f"{what} broke, and says: {error}"
        )
        broken.__cause__ = error
        return broken


def _settle(future: Future[Any], outcome: AnyOutcome) -> None:
    """Make a future say what became of its task."""
    try:
        error = outcome.exception()
        value = outcome.value if isinstance(outcome, Succeeded) else None
    except Exception as unreadable:  # noqa: BLE001  # opening a value calls the user's own methods
        error, value = unreadable, None
    with contextlib.suppress(InvalidStateError):  # somebody else has said so already
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
