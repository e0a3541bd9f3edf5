"""A lane: the persistent connection between the client and one worker.

It is one of Dask's connections, under the farm's TLS, taken over once its worker has answered: a
frame is a length and a msgpack array of messages. (Dask's own framing, made for arrays, costs three
times as much for messages this short.) What is sent in one turn of the event loop travels in one
frame, so a busy lane batches by itself and an idle one answers at once. Each end beats; an end that
hears nothing for its patience takes the other for dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from distributed.comm.core import Comm
from distributed.comm.tcp import TCP
from tornado.iostream import StreamClosedError

Message = tuple[Any, ...]
BEAT_S = 2.0
"""Interval of signs of life [s]."""
_BEAT: Message = ()
_HEAD_BYTES = 8
_READ_BYTES = 1 << 20
_RECORD_BYTES = 1 << 14
_PART_BYTES = 1 << 18
"""Large frames are read in such parts; the arrival of each shows that the other end lives."""


class Lane:
    """One end of the connection."""

    def __init__(self, comm: Comm, *, patience_s: float) -> None:
        """Take over an open connection.

        Parameters
        ----------
        comm
            Dask's connection.
        patience_s
            Silence after which the other end counts as dead [s].
        """
        assert isinstance(comm, TCP), "farms listen on TCP, with TLS or without"
        assert comm.stream is not None, "it is open"
        self._comm = comm
        self._stream = comm.stream
        self._patience_s = patience_s
        self._outbox: list[Message] = []
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()

    def send(self, message: Message) -> None:
        """Send a message, together with what else is sent before the event loop turns."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(message)

    def _flush(self) -> None:
        body = msgspec.msgpack.encode(self._outbox)
        self._outbox = []
        if not self._stream.closed():  # else `run` has noticed, or will
            self._stream.write(len(body).to_bytes(_HEAD_BYTES, "little") + body)

    async def run(self, receive: Callable[[Message], None]) -> str:
        """Exchange messages until the lane ends, and return why it did."""
        ends = [asyncio.ensure_future(work) for work in (self._read(receive), self._beat())]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            self._comm.abort()

    def close(self) -> None:
        """End the lane; `run` returns at both ends."""
        self._comm.abort()

    async def _read(self, receive: Callable[[Message], None]) -> str:
        unread = bytearray()
        while True:
            try:
                unread += await self._read_some(_missing(unread))
            except (StreamClosedError, OSError) as error:
                return f"its connection closed ({error})"
            self._heard = self._loop.time()
            for message in _take_messages(unread):
                receive(message)
            await asyncio.sleep(0)  # others have their turn, however much comes in

    async def _read_some(self, missing: int) -> bytes:
        """Return what there is; of a large frame that has begun, a larger part of what is missing.

        TLS brings no more than a record at a time, and each would cost a turn of the event loop.
        """
        large = missing > _RECORD_BYTES
        wanted = min(missing, _PART_BYTES) if large else _READ_BYTES
        read: bytes = await self._stream.read_bytes(wanted, partial=not large)
        return read

    async def _beat(self) -> str:
        while True:
            before = self._loop.time()
            await asyncio.sleep(BEAT_S)
            self.send(_BEAT)
            if self._loop.time() - before > 2 * BEAT_S:
                self._heard = self._loop.time()  # this end was held up: it may have mail unread
            elif self._loop.time() - self._heard > self._patience_s:
                return f"it was silent for {self._patience_s:g} s"


def _take_messages(unread: bytearray) -> list[Message]:
    """Return the messages of all whole frames, and leave what comes after them."""
    messages: list[Message] = []
    start = 0
    while len(unread) - start >= _HEAD_BYTES:
        end = start + _HEAD_BYTES + int.from_bytes(unread[start : start + _HEAD_BYTES], "little")
        if end > len(unread):
            break
        with memoryview(unread)[start + _HEAD_BYTES : end] as body:
            messages += _frames.decode(body)
        start = end
    del unread[:start]
    return [message for message in messages if message != _BEAT]


def _missing(unread: bytearray) -> int:
    """Return how much of the frame that comes first is missing [bytes]; 0 if that is not known."""
    if len(unread) < _HEAD_BYTES:
        return 0
    return _HEAD_BYTES + int.from_bytes(unread[:_HEAD_BYTES], "little") - len(unread)


_frames = msgspec.msgpack.Decoder(list[tuple[Any, ...]])
