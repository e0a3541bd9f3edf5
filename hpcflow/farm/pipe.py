"""A pipe: frames on a non-blocking socket, plain or under TLS, with no coroutine in their way.

A frame begins with a head, whose first 8 bytes are the length of what follows the head. What can
be read is read and handed on within one turn of the event loop; what is written is sent at once,
and only what the socket does not take waits. Of the way of a short message, coroutines, futures
and further turns of the loop would be the larger part.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Callable
from socket import socket
from typing import TypeVar

from tornado.ioloop import IOLoop

Frame = memoryview
"""A frame with its head, in memory that nobody else writes to."""
_SIZE = struct.Struct("<Q")
_RECORD_BYTES = 1 << 14
"""TLS brings no more than such a record at a time."""
_READ_BYTES = 1 << 16
"""Frames larger than this are read in place."""
_TURN_BYTES = 1 << 20
"""After so much, others have their turn."""
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""The socket would have to wait; TLS also says so where what came was for itself alone."""

_LAST_WORDS_S = 1.0
"""Where nothing can be sent any more, what comes has this long to come to its end [s]."""
_CLOSED = "its connection closed"

_What = TypeVar("_What")
_Read = TypeVar("_Read", int, bytes)


class Pipe:
    """One end of a connection. Its socket is somebody else's to close."""

    def __init__(self, sock: socket, *, head_bytes: int, unread: bytes = b"") -> None:
        """Make a pipe that can be written to; it is read once it runs.

        Parameters
        ----------
        sock
            A connected socket that does not block.
        head_bytes
            Length of a frame's head.
        unread
            What has been read of the socket already.
        """
        self._sock = sock
        self._head_bytes = head_bytes
        self._unread = unread
        """The beginning of a frame, unless that is a large one."""
        self._large = bytearray()
        """A large frame that has begun, and room for a record behind it."""
        self._filled = 0
        """How much of it has come [bytes]."""
        self._backlog: deque[memoryview] = deque()
        self._events = 0
        """What the event loop watches the socket for; nothing unless the pipe runs."""
        self._io_loop = IOLoop.current()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._closed = _CLOSED
        """What to say at the end. A failure to send is told then: first what came is to be read."""
        self.heard = self._loop.time()
        """When something came last, by the loop's clock [s]."""

    async def run(self, receive: Callable[[list[Frame]], None]) -> str:
        """Hand on the frames that come, as many as there are at a time; return why that ended.

        What `receive` raises ends it as well, and is raised here.
        """
        if self._sock.fileno() < 0:
            return _CLOSED
        self._receive = receive
        self._events = IOLoop.READ
        self._io_loop.add_handler(self._sock, self._turn, self._events)
        try:
            self._turn(None, IOLoop.READ)  # what was read before, even if nothing comes any more
            self._drain()
            return await self._ended
        finally:
            self._events = 0
            self._io_loop.remove_handler(self._sock)

    def end(self, reason: str = _CLOSED) -> None:
        """Let `run` return the reason, unless it has ended for another."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def _turn(self, _: object, event: int) -> None:
        """Do what the socket is ready for. Tornado's loop tells one event at a time."""
        try:
            if event == IOLoop.WRITE:
                self._drain()
            elif frames := self._read_large() if self._large else self._read_small():
                self._receive(frames)
        except Exception as error:  # noqa: BLE001  # `run` raises it
            if not self._ended.done():
                self._ended.set_exception(error)

    # -- what comes

    def _read_small(self) -> list[Frame]:
        """Read what there is; return the frames that are whole."""
        pieces, left = [self._unread], _TURN_BYTES
        while left > 0 and (data := self._read(self._sock.recv, _READ_BYTES)):
            pieces.append(data)
            left -= len(data)
            if len(data) < _RECORD_BYTES:
                break  # should there be more after all, the loop says so for less than a failure
        return self._cut(b"".join(pieces))

    def _read_large(self) -> list[Frame]:
        """Read on in a large frame. When it is whole, return it and what has come behind it."""
        end, left = len(self._large) - _RECORD_BYTES, _TURN_BYTES
        with memoryview(self._large) as room:
            # A record always fits in: the rest of one would lie inside the TLS layer, where the
            # event loop does not see it.
            while left > 0 and (count := self._read(self._sock.recv_into, room[self._filled :])):
                self._filled += count
                left -= count
                if self._filled >= end:
                    break
        if self._filled < end:
            return []
        large, self._large = memoryview(self._large), bytearray()
        return [large[:end], *self._cut(bytes(large[end : self._filled]))]

    def _read(self, read: Callable[[_What], _Read], what: _What) -> _Read | None:
        """Return what the socket gives: None or nothing if there is no more, now or for ever."""
        try:
            found = read(what)
        except _NOT_NOW:
            return None
        except OSError as error:
            self.end(f"{_CLOSED} ({error})")
            return None
        if found:
            self.heard = self._loop.time()
        else:
            self.end(self._closed)
        return found

    def _cut(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole, and keep what comes behind them."""
        frames, rest = [], memoryview(data)
        while 0 < (size := self._size(rest)) <= len(rest):
            frames.append(rest[:size])
            rest = rest[size:]
        self._unread = b"" if size > _READ_BYTES else bytes(rest)
        if size > _READ_BYTES:
            self._large, self._filled = bytearray(size + _RECORD_BYTES), len(rest)
            self._large[: self._filled] = rest
        return frames

    def _size(self, data: memoryview) -> int:
        """Return the length of the frame that begins the data; 0 if its head is not whole."""
        if len(data) < self._head_bytes:
            return 0
        size: int = _SIZE.unpack_from(data)[0]
        return self._head_bytes + size

    # -- what goes

    def write(self, head: bytes, body: bytes) -> None:
        """Send a frame, as far as the socket takes it now; the rest follows."""
        waits = bool(self._backlog)
        if len(body) > _READ_BYTES:  # too large to copy for the sake of one call less
            self._backlog += memoryview(head), memoryview(body)
        else:
            self._backlog.append(memoryview(head + body))
        if not waits:
            self._drain()

    def _drain(self) -> None:
        """Send what the socket takes, a turn's worth at most."""
        backlog, left = self._backlog, _TURN_BYTES
        while backlog and left > 0:
            try:
                sent = self._sock.send(backlog[0][:left])
            except _NOT_NOW:
                break
            except OSError as error:
                self._closed = f"{_CLOSED} ({error})"
                self._loop.call_later(_LAST_WORDS_S, self.end, self._closed)
                backlog.clear()
                break
            left -= sent
            if sent == len(backlog[0]):
                backlog.popleft()
            else:
                backlog[0] = backlog[0][sent:]
        self._watch(IOLoop.READ | IOLoop.WRITE if backlog else IOLoop.READ)

    def _watch(self, events: int) -> None:
        if self._events and self._events != events:
            self._events = events
            self._io_loop.update_handler(self._sock, events)
