"""A lane: the persistent connection between the client and one worker.

Messages are tuples. What is sent while a write is under way travels together in the next one, so
a busy lane batches by itself and an idle one answers at once. Each end beats; an end that hears
nothing for its patience takes the other for dead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from distributed.comm.core import Comm, CommClosedError

Message = tuple[Any, ...]
BEAT_S = 2.0
"""Interval of signs of life [s]."""
_BEAT: Message = ()
_PIECE = "piece"
PIECE_BYTES = 4 << 20
"""Larger messages travel in pieces, so that their arrival shows that the other end lives."""


class Lane:
    """One end of the connection."""

    def __init__(self, comm: Comm, *, patience_s: float) -> None:
        """Take over an open connection.

        Parameters
        ----------
        comm
            Dask's connection, under the farm's TLS.
        patience_s
            Silence after which the other end counts as dead [s].
        """
        self._comm = comm
        self._patience_s = patience_s
        self._outbox: deque[Message] = deque()
        self._pieces = bytearray()
        self._filled = asyncio.Event()
        self._heard = 0.0

    def send(self, message: Message) -> None:
        """Queue a message; it goes out with the next write, or in pieces with the next ones."""
        if _size(message) <= PIECE_BYTES:
            self._outbox.append(message)
        else:
            blob = msgspec.msgpack.encode(message)
            for start in range(0, len(blob), PIECE_BYTES):
                more = start + PIECE_BYTES < len(blob)
                self._outbox.append((_PIECE, more, blob[start : start + PIECE_BYTES]))
        self._filled.set()

    async def run(self, receive: Callable[[Message], None]) -> str:
        """Exchange messages until the lane ends, and return why it did."""
        workers = [
            asyncio.ensure_future(work)
            for work in (self._write(), self._read(receive), self._beat())
        ]
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._comm.abort()

    def close(self) -> None:
        """End the lane; `run` returns at both ends."""
        self._comm.abort()

    def _take(self) -> list[Message]:
        """Return what goes out next: all that is queued, up to about one piece."""
        batch: list[Message] = []
        size = 0
        while self._outbox and size < PIECE_BYTES:
            batch.append(self._outbox.popleft())
            size += _size(batch[-1])
        if not self._outbox:
            self._filled.clear()
        return batch

    def _accept(self, message: Message, receive: Callable[[Message], None]) -> None:
        if message == _BEAT:
            return
        if message[0] != _PIECE:
            receive(message)
            return
        _, more, piece = message
        self._pieces += piece
        if not more:
            whole = tuple(msgspec.msgpack.decode(self._pieces))
            self._pieces = bytearray()
            receive(whole)

    async def _write(self) -> str:
        while True:
            await self._filled.wait()
            try:
                await self._comm.write(self._take())
            except (CommClosedError, OSError) as error:
                return f"its connection closed ({error})"

    async def _read(self, receive: Callable[[Message], None]) -> str:
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        while True:
            try:
                batch = await self._comm.read()
            except (CommClosedError, OSError) as error:
                return f"its connection closed ({error})"
            self._heard = loop.time()
            for message in batch:
                self._accept(message, receive)

    async def _beat(self) -> str:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(BEAT_S)
            if not self._outbox:
                self._outbox.append(_BEAT)
                self._filled.set()
            if loop.time() - before > 2 * BEAT_S:
                self._heard = loop.time()  # this end was held up: it may have mail unread
            elif loop.time() - self._heard > self._patience_s:
                return f"it was silent for {self._patience_s:g} s"


def _size(message: Message) -> int:
    return sum(len(part) for part in message if isinstance(part, bytes))
