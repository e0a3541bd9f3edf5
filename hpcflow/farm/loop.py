"""An event loop on a thread of its own, with a mailbox that any thread may put things into."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Mail = TypeVar("Mail")


class Loop(Generic[Mail]):
    """Runs from `start` to `end`."""

    def __init__(
        self, *, empty: Callable[[], None], unforeseen: Callable[[BaseException], None]
    ) -> None:
        """Make a loop that is not running yet.

        Parameters
        ----------
        empty
            Called on the loop when there is mail.
        unforeseen
            Called on the loop with an error that nothing else handles.
        """
        self._empty = empty
        self._unforeseen = unforeseen
        self.mail: deque[Mail] = deque()
        self._waking = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="hpcflow-dispatcher", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._handle)
        self._loop.run_forever()

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error = context.get("exception")
        if error is not None:
            self._unforeseen(error)

    def _wake(self) -> None:
        self._waking = False
        self._empty()

    # -- from any thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, mail: Mail) -> None:
        """Put something into the mailbox."""
        self.mail.append(mail)
        if not self._waking:
            self._waking = True
            ours = threading.get_ident() == self._thread.ident
            call = self._loop.call_soon if ours else self._loop.call_soon_threadsafe
            with contextlib.suppress(RuntimeError):  # the loop has been closed: too late
                call(self._wake)

    def call(self, function: Callable[..., Any], *args: Any, timeout_s: float | None = None) -> Any:
        """Run a function on the loop and return what it returns.

        Raises
        ------
        TimeoutError
            If that takes longer than `timeout_s`: the loop may have ended.
        """
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(timeout_s)

    def end(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, and end the loop and its thread."""

        async def finish() -> None:
            await last
            await self._loop.shutdown_default_executor()

        asyncio.run_coroutine_threadsafe(finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on the loop

    def time(self) -> float:
        """Return the loop's time [s]."""
        return self._loop.time()

    def call_later(self, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function after a delay [s]."""
        self._loop.call_later(delay_s, function, *args)

    def run_beside(self, function: Callable[[], None]) -> asyncio.Future[None]:
        """Run a function that blocks on another thread."""
        return self._loop.run_in_executor(None, function)
