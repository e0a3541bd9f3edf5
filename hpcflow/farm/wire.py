"""What travels between client, worker and runner, in the order of its travels.

Client and worker exchange tuples on a *lane* (`hpcflow.farm.lane`); worker and runner exchange
frames on a socket pair. Whatever belongs to the user (functions, inputs, values) is pickled once
at one end and opened only at the other; the worker relays it as bytes.

Down the lane                                   Up the lane
    ("preload", name, blob)                         ("slot", slot, life, info)      up and ready
    ("function", number, blob)                      ("down", slot, life, death)
    ("chunk", slot, life, chunk, limit_s,           ("dead", slot, name, reason)    will not come up
        function, blob)                             ("out", slot, life, blob)       outcomes
    ("kill", slot, life, chunk)
    ("recall", slot, life, chunk)
    ("forget", function)

`life` counts the runners that a worker has had: a chunk meant for an earlier one is dropped.

Where a farm sends chunks as Dask tasks (`hpcflow.farm.tasks`), these take the place of the lane's
`chunk` and `out`: each task gets an `Errand` and the `Work`, and its result is a list of `Result`.
"""

from __future__ import annotations

import enum
import mmap
import socket
import struct
from typing import Any

import msgspec

from hpcflow.core.event import PayloadRef

HEAD = struct.Struct("<QB")
"""Length of the body, and kind of the frame."""


STORAGE = "storage"
"""Stands for a cause where a value could not be stored: no task is to blame, the run must stop."""


class Down(enum.IntEnum):
    """Kinds of frames from worker to runner."""

    SETUP = 0
    PRELOAD = 1
    FUNCTION = 2
    CHUNK = 3
    FORGET = 4


class Up(enum.IntEnum):
    """Kinds of frames from runner to worker."""

    READY = 0
    """The setup is done."""
    LOADED = 1
    """A preload is done; the body is msgpack of its duration [s]."""
    REFUSED = 2
    """The setup or a preload failed; the body is the reason as text."""
    RESULT = 3
    LAST = 4
    """A `RESULT` after which its chunk has no further one."""


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What a process runs on; see `hpcflow.farm.versions`."""

    python: str
    """Major and minor version."""
    distributed: str
    hpcflow: str


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """What every version can read of another's `Setup` or `SlotInfo`, whatever else is in it."""

    versions: Versions | None = None
    name: str = ""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner must know before it can run anything."""

    versions: Versions
    """The driver's."""
    sys_path: list[str]
    """The driver's, so that the same modules are found."""
    directory: str
    """The driver's working directory."""
    run_seed: int
    run_directory: str | None
    """Absolute path; None where the farm keeps no run."""
    scratch: str
    """Where tasks get work directories if the farm keeps no run."""
    ends_at: float | None
    """When the batch job's wall time is over [s since the epoch]."""
    logs: str | None
    """Where runners' output goes; None lets it through to the worker's own."""


class SlotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot says of itself when it joins."""

    name: str
    host: str
    worker: str
    pid: int
    device: str
    cores: tuple[int, ...]
    booted: float
    preload_s: float
    sharing: int
    """Slots that may be on its device at a time."""
    uuid: str
    """What tells the device from all others; empty if unknown."""
    versions: Versions
    """The worker's."""


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner died of."""

    reason: str
    on_request: bool
    """Whether the client asked for it."""
    culprit: Culprit | None
    """The task that ran, if one did."""


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """The task that ran when a runner ended. Times are seconds since the epoch."""

    chunk: int
    index: int
    cause: str
    message: str
    traceback: str
    started: float
    finished: float


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk for a runner."""

    chunk: int
    stage: str
    function: int
    attempt: int
    limit_s: float | None
    keys: msgspec.Raw
    """The tasks' names, opened only when a task asks for its own. None where they are made of
    positions, from `first`, and `values`: see `core.numbered`."""
    first: int = 0
    values: bytes = b""
    """One pickle of the list of all inputs, where each is a number, a truth value or None."""
    inputs: list[bytes] = []
    """A pickle of each input, where they are not in `values`."""


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chunk that is a Dask task has to go, and what has to be there first."""

    key: str
    """The Dask task's."""
    slot: int
    """Number of the slot on its worker."""
    life: int
    turn: int
    """Place among the chunks that were meant for that life, from 0: Dask keeps no order."""
    preloads: int
    """How many objects the runner has been asked to load before."""
    chunk: int
    function: int
    limit_s: float | None


class Wreck(msgspec.Struct, frozen=True, kw_only=True):
    """Why one task of a chunk has no value."""

    cause: str
    type: str
    message: str
    traceback: str
    pickled: bytes = b""
    """The exception itself, if it can travel."""


class Result(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The next tasks of a chunk, ended: columns of equal length, and exceptions by index."""

    chunk: int
    values: list[Any]
    """Plain values; None where there is another entry for the task."""
    laps: bytes
    """Doubles [s since the epoch], one more than tasks: each task runs from one to the next."""
    wrecks: dict[int, Wreck] = {}
    pickles: dict[int, bytes] = {}
    payloads: dict[int, PayloadRef] = {}


class Progress:
    """A page of memory shared by runner and worker: which task runs since when, what is recalled.

    It is what a dead runner leaves behind: the task to blame, without a message for each task.

    The runner writes word by word while the worker may read. At the start of a task it writes
    `started` before `place`: the worker never sees a task with an earlier one's start, which may
    be long past, and so kills none for the time that another took. At the end of a chunk `place`
    becomes 0, and it stays 0 while `chunk` changes.
    """

    _LAYOUT = struct.Struct("<QQd")

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, mmap.PAGESIZE)
        with memoryview(self._page) as page:
            self.chunk = page[0:8].cast("Q")
            """Number of the chunk that runs, or ran last. This and the others: a view of one."""
            self.place = page[8:16].cast("Q")
            """The task's place in its chunk, from 1; 0 says that nothing runs."""
            self.started = page[16:24].cast("d")
            """When it started [s, monotonic]; infinite once it has ended and is being answered,
            where no time limit counts."""
            self.recalled = page[24:32].cast("Q")
            """Nothing more of the chunks up to this one is to be started."""

    def read(self) -> tuple[int, int, float] | None:
        """Return chunk, index and start [s, monotonic] of the task that runs, or None."""
        chunk, place, started = self._LAYOUT.unpack_from(self._page, 0)
        return (chunk, place - 1, started) if place else None

    def recall(self, chunk: int) -> None:
        """Say that nothing more of the chunks up to this one is to be started."""
        self.recalled[0] = chunk

    def close(self) -> None:
        """Let go of the page."""
        for view in (self.chunk, self.place, self.started, self.recalled):
            view.release()
        self._page.close()


def read_frame(connection: socket.socket) -> tuple[int, bytes] | None:
    """Return the next frame's kind and body, or None at the end of the stream."""
    head = _receive(connection, HEAD.size)
    if len(head) < HEAD.size:
        return None
    size, kind = HEAD.unpack(head)
    body = _receive(connection, size) if size else b""
    return (kind, body) if len(body) == size else None


def _receive(connection: socket.socket, size: int) -> bytes:
    """Return as many bytes; fewer at the end of the stream."""
    data = connection.recv(size, socket.MSG_WAITALL)
    while len(data) < size and (more := connection.recv(size - len(data), socket.MSG_WAITALL)):
        data += more  # a signal has cut the wait short
    return data


def write_frame(connection: socket.socket, kind: int, body: bytes) -> None:
    """Send one frame."""
    connection.sendall(HEAD.pack(len(body), kind) + body)


def write_result(connection: socket.socket, kind: int, result: Result) -> None:
    """Send one frame with a result, which is never copied to come behind its head.

    Raises
    ------
    OverflowError
        If one of its values is an integer beyond 64 bits.
    """
    frame = bytearray(HEAD.size)
    _encoder.encode_into(result, frame, HEAD.size)
    HEAD.pack_into(frame, 0, len(frame) - HEAD.size, kind)
    connection.sendall(frame)


_encoder = msgspec.msgpack.Encoder()
