"""Chunks that come to a worker as Dask tasks: their order, their answers, and room for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from hpcflow.farm.wire import Errand

if TYPE_CHECKING:
    from distributed.worker_state_machine import WorkerState

NOTHING = msgspec.msgpack.encode([])
"""What a chunk that was not run comes to: no results."""
_UNDER_WAY = frozenset({"waiting", "ready", "executing", "cancelled", "resumed"})


class _Held:
    """A chunk whose Dask task waits for its results."""

    def __init__(self, errand: Errand, work: bytes) -> None:
        self.errand = errand
        self.work = work
        self.results: list[memoryview] = []
        self.ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Let the Dask task return what there is."""
        if not self.ended.done():
            self.ended.set_result(msgspec.msgpack.encode(self.results))


class Errands:
    """The chunks of one slot that are Dask tasks."""

    def __init__(self, begin: Callable[[Errand, bytes], bool]) -> None:
        """Hold nothing yet.

        Parameters
        ----------
        begin
            Hands a chunk to the runner; returns whether all that it needs was there.
        """
        self._begin = begin
        self._turn = 0
        self._early: dict[int, _Held] = {}
        self._running: deque[_Held] = deque()

    async def take(self, errand: Errand, work: bytes) -> bytes:
        """Run a chunk when its turn comes; return its results once it or its runner has ended."""
        held = self._early[errand.turn] = _Held(errand, work)
        self.go_on()
        return await held.ended

    def go_on(self) -> None:
        """Begin every chunk whose turn has come and that has what it needs."""
        while (held := self._early.get(self._turn)) and self._begin(held.errand, held.work):
            self._running.append(self._early.pop(self._turn))
            self._turn += 1

    def answer(self, result: memoryview, *, last: bool) -> bool:
        """Take a result for the chunk that runs; return False if that is no Dask task."""
        if not self._running:
            return False
        self._running[0].results.append(result)
        if last:
            self._running.popleft().end()
        return True

    def end(self) -> None:
        """Let every task return what there is: the runner has ended. Begin anew with the next."""
        for held in (*self._running, *self._early.values()):
            held.end()
        self._running.clear()
        self._early.clear()
        self._turn = 0


class Room:
    """Lets a worker have as many chunks as it is sent, next to plain Dask tasks on its threads.

    A chunk is run by its slot, and its Dask task merely waits. Dask counts it among the tasks that
    its worker may execute at a time, so each brings its own room, from when it comes until it ends.
    """

    def __init__(self, state: WorkerState) -> None:
        """Follow the tasks of a worker's state machine."""
        self._state = state
        self._threads = state.nthreads
        self._chunks: set[str] = set()

    def follow(self, key: str, state: str) -> None:
        """Take note that a chunk's task has come to a state."""
        if state == "waiting":
            self._chunks.add(key)
        elif state not in _UNDER_WAY:
            self._chunks.discard(key)
        self._state.nthreads = self._threads + len(self._chunks)

    def leave(self, key: str) -> None:
        """Take note that a chunk has ended, before Dask looks for what it could execute next."""
        self._chunks.discard(key)
        self._state.nthreads = self._threads + len(self._chunks)
