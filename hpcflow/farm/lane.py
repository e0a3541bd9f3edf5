"""A lane: the persistent connection between the client and one worker.

It is one of Dask's connections, under the farm's TLS, taken over once its worker has been asked for
it: a frame is a length and a msgpack array of messages. (Dask's own framing, made for arrays, costs
three times as much for messages this short, and Tornado's streams as much again.) What is sent in
one turn of the event loop travels in one frame, so a busy lane batches by itself and an idle one
answers at once. Each end beats; an end that hears nothing for its patience takes the other for
dead.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import msgspec
from distributed.comm.core import Comm, CommClosedError
from distributed.comm.tcp import TCP
from tornado.iostream import IOStream, StreamClosedError

from hpcflow.farm.pipe import Frame, Pipe

Message = tuple[Any, ...]
BEAT_S = 2.0
"""Interval of signs of life [s]."""
_BEAT: Message = ()
_HEAD = struct.Struct("<Q")


class Lane:
    """One end of the connection."""

    def __init__(self, comm: TCP, pipe: Pipe, *, patience_s: float) -> None:
        """Make a lane of a connection that has been taken over."""
        self._comm = comm
        self._pipe = pipe
        self._patience_s = patience_s
        self._outbox: list[Message] = []
        self._flushes = False
        """Whether it flushes before the event loop has turned."""
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def take_over(cls, comm: Comm, *, patience_s: float) -> Lane:
        """Make a lane of an open connection.

        Parameters
        ----------
        comm
            Dask's connection. What has been written to it goes before, and what comes by it from
            now on is the lane's.
        patience_s
            Silence after which the other end counts as dead [s].

        Raises
        ------
        CommClosedError
            If it has been closed meanwhile.
        """
        assert isinstance(comm, TCP), "farms listen on TCP, with TLS or without"
        assert comm.stream is not None, "it is open"
        try:
            await comm.stream.write(b"")  # done once all that was written before has been sent
        except StreamClosedError as error:
            raise CommClosedError(str(error)) from error
        return cls(comm, _take_over(comm.stream), patience_s=patience_s)

    def send(self, message: Message) -> None:
        """Send a message, together with what else is sent before the event loop turns."""
        self.put(message)
        if not self._flushes:
            self._flushes = True
            self._loop.call_soon(self._flush)

    def put(self, message: Message) -> None:
        """Have a message sent by the next `flush`, which is the caller's to ask for."""
        self._outbox.append(message)

    def flush(self) -> None:
        """Send what there is to send, without waiting for the event loop to turn."""
        if self._outbox:
            body = _encoder.encode(self._outbox)
            self._outbox.clear()
            self._pipe.write(_HEAD.pack(len(body)), body)

    def _flush(self) -> None:
        self._flushes = False
        self.flush()

    async def run(self, receive: Callable[[list[Message]], None]) -> str:
        """Exchange messages until the lane ends, and return why it did.

        Parameters
        ----------
        receive
            Called with the messages that have come, as many as there are at a time. What it raises
            ends the lane and is raised here.
        """

        def take(frames: list[Frame]) -> None:
            messages = [each for frame in frames for each in _decoder.decode(frame[_HEAD.size :])]
            if said := [message for message in messages if message != _BEAT]:
                receive(said)

        self._beat_later()
        try:
            return await self._pipe.run(take)
        finally:
            self._timer.cancel()
            self._comm.abort()

    def close(self) -> None:
        """End the lane; `run` returns at both ends."""
        self._comm.abort()

    def _beat_later(self) -> None:
        self._timer = self._loop.call_later(BEAT_S, self._beat, self._loop.time())

    def _beat(self, before: float) -> None:
        self.send(_BEAT)
        now = self._loop.time()
        if now - before > 2 * BEAT_S:
            self._pipe.heard = now  # this end was held up: it may have mail unread
        elif now - self._pipe.heard > self._patience_s:
            self._pipe.end(f"it was silent for {self._patience_s:g} s")
        self._beat_later()


def _take_over(stream: IOStream) -> Pipe:
    """Take a connection's socket over from Tornado, which is left with nothing but to close it.

    The pipe is watched by Tornado's event loop too: when Dask closes the connection, for whatever
    reason, the stream ends that watch before the socket's number can be another's.
    """
    assert not stream.reading(), "Dask waits for nothing more"
    assert not stream.writing(), "Dask has said its all"
    read_ahead = bytes(stream._read_buffer)  # noqa: SLF001  # nothing public tells what it holds
    pipe = Pipe(stream.socket, head_bytes=_HEAD.size, unread=read_ahead)
    stream.set_close_callback(pipe.end)
    stream.io_loop.remove_handler(stream.socket)
    return pipe


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[Any, ...]])
