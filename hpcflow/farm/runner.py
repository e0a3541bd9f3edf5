"""The runner: the child process of a worker that runs user code on one slot.

It answers its worker on a socket pair, one frame at a time, and knows nothing of Dask. Whatever
the user's code does to this process (a segfault, `os._exit`, a leak, a hang) costs the task that
did it: the progress page says which one that was, and the worker starts another runner.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from hpcflow.core.event import PayloadRef
from hpcflow.core.plain import is_plain
from hpcflow.core.task import Cause
from hpcflow.farm.context import RunnerContext, current
from hpcflow.farm.memory import keep_freed_memory
from hpcflow.farm.results import pickle_result
from hpcflow.farm.wire import (
    STORAGE,
    Down,
    Progress,
    Result,
    Setup,
    Up,
    Work,
    Wreck,
    read_frame,
    write_frame,
)
from hpcflow.journal.payload import INLINE_LIMIT, write_payload

FLUSH_S = 0.02
"""Outcomes wait at most about this long for the rest of their chunk [s]."""
LONGEST_TEXT = 20_000
"""Characters kept of an error's message and of its traceback."""
LARGEST_ERROR = 65_536
"""Longest pickle of an exception that travels with its text [bytes]."""
_PR_SET_PDEATHSIG = 1
_SHORT = 1024
_NUMBERS = frozenset({int, float, bool})


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's class, message and traceback as text, whatever its methods do."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001  # __str__ is the user's code
        message = f"(its message cannot be shown: {type(broken).__name__})"
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception:  # noqa: BLE001  # so is whatever the traceback shows
        text = "".join(traceback.format_tb(frames))
    return name, _readable(message[:LONGEST_TEXT]), _readable(text[-LONGEST_TEXT:])


def _readable(text: str) -> str:
    """Return text that has a UTF-8 form: a message may hold half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


class _UnpicklableError(Exception):
    """The value that a task returned cannot travel."""


class _UnstorableError(Exception):
    """The value that a task returned cannot be written: the run's trouble, not the task's."""


class Runner:
    """One slot's user code, function by function and chunk by chunk."""

    def __init__(self, stream: BinaryIO, progress: Progress, context: dict[str, Any]) -> None:
        self._stream = stream
        self._progress = progress
        self._context = context
        self._pid = os.getpid()
        self._functions: dict[int, bytes] = {}
        self._callables: dict[int, Callable[[Any], Any]] = {}
        self._works = msgspec.msgpack.Decoder(Work)
        self._columns = _Columns(0, 0.0)
        self._lock = threading.Lock()
        """Held to add to the columns and to send them."""
        self._waiting = threading.Event()
        """Set while there are outcomes that have not been sent."""
        self._late = False
        """The same, where asking costs nothing."""
        threading.Thread(target=self._flush_late, name="hpcflow-flush", daemon=True).start()

    def serve(self) -> None:
        """Answer frames until the worker closes the stream."""
        while (frame := read_frame(self._stream)) is not None:
            kind, body = frame
            match Down(kind):
                case Down.CHUNK:
                    self._run(self._works.decode(body))
                case Down.FUNCTION:
                    number, blob = pickle.loads(body)
                    self._functions[number] = blob
                case Down.FORGET:
                    self._functions.pop(int(body), None)
                    self._callables.pop(int(body), None)
                case Down.SETUP:
                    self._answer(self._set_up, body)
                case Down.PRELOAD:
                    self._answer(self._preload, body)

    # -- before tasks

    def _answer(self, action: Callable[[bytes], tuple[Up, bytes]], body: bytes) -> None:
        try:
            kind, answer = action(body)
        except BaseException as error:  # noqa: BLE001  # a preload is user code as well
            kind, answer = Up.REFUSED, describe(error)[2].encode("utf-8", "replace")
        write_frame(self._stream, kind, answer)

    def _set_up(self, body: bytes) -> tuple[Up, bytes]:
        setup = msgspec.msgpack.decode(body, type=Setup)
        os.chdir(setup.directory)
        sys.path[:] = setup.sys_path
        current.runner = RunnerContext(
            **self._context,
            run_seed=setup.run_seed,
            run_directory=Path(setup.run_directory) if setup.run_directory else None,
            scratch=Path(setup.scratch),
            ends_at=setup.ends_at,
        )
        return Up.READY, b""

    def _preload(self, body: bytes) -> tuple[Up, bytes]:
        started = time.monotonic()
        name, blob = pickle.loads(body)
        load, args = pickle.loads(blob)
        current.preloads[name] = load(*args)
        return Up.LOADED, msgspec.msgpack.encode(time.monotonic() - started)

    # -- tasks

    def _function(self, number: int) -> Callable[[Any], Any]:
        function = self._callables.get(number)
        if function is None:
            function = self._callables[number] = pickle.loads(self._functions[number])
        return function

    def _run(self, work: Work) -> None:
        current.stage, current.keys, current.attempt = work.stage, msgspec.msgpack.decode(work.keys), work.attempt
        current.time_limit_s = work.limit_s
        last = len(work.inputs) - 1
        now = time.monotonic()
        self._columns = _Columns(work.chunk, now)
        begin, monotonic, lock = self._progress.begin, time.monotonic, self._lock
        is_recalled = self._progress.is_recalled
        for index, blob in enumerate(work.inputs):
            if is_recalled(work.chunk):
                with lock:
                    begin(work.chunk, index, math.inf)
                    self._flush(Up.LAST)
                break
            begin(work.chunk, index, now)
            current.index, current.started = index, now
            value, other = self._call(work.function, blob)
            now = monotonic()
            with lock:
                columns = self._columns
                columns.values.append(value)
                columns.laps.append(now)
                if other is not None:
                    columns.note(other)
                if index == last or now - columns.began > FLUSH_S:
                    begin(work.chunk, index, math.inf)
                    self._flush(Up.LAST if index == last else Up.RESULT)
                elif not self._late:
                    self._late = True
                    self._waiting.set()
        current.index = None
        self._progress.rest()

    def _call(self, function: int, blob: bytes) -> tuple[Any, _Other | None]:
        """Run one task; return its value, or what travels in its place, or what it raised."""
        value: Any = None
        other: _Other | None = None
        cause: str = Cause.INPUT
        try:
            call, argument = self._function(function), pickle.loads(blob)
            cause = Cause.EXCEPTION
            value = call(argument)
            cause = Cause.RESULT
            if not _is_small_plain(value):
                value, other = None, _store(value)
        except _UnstorableError as error:
            value, other = None, _wreck(STORAGE, error)
        except BaseException as error:  # noqa: BLE001  # the one place: whatever user code raises
            value, other = None, _wreck(cause, error)
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the task forked has come out of it: not ours to answer
        return value, other

    def _flush(self, kind: Up = Up.RESULT) -> None:
        """Send what has ended. The lock is held."""
        columns = self._columns
        self._waiting.clear()
        self._late = False
        if columns.values or kind is Up.LAST:
            write_frame(self._stream, kind, columns.encode())
            self._columns = _Columns(columns.chunk, columns.laps[-1])

    def _flush_late(self) -> None:
        """Send what has ended before a task that goes on and on in the same chunk."""
        while True:
            self._waiting.wait()
            time.sleep(FLUSH_S)
            with self._lock:
                self._flush()


_Other = bytes | PayloadRef | Wreck
"""What travels in place of a plain value."""


class _Columns:
    """Outcomes of consecutive tasks of a chunk, growing."""

    def __init__(self, chunk: int, began: float) -> None:
        self.chunk = chunk
        self.began = began
        self.values: list[Any] = []
        self.laps = array("d", [began])
        self._wrecks: dict[int, Wreck] = {}
        self._pickles: dict[int, bytes] = {}
        self._payloads: dict[int, PayloadRef] = {}

    def note(self, other: _Other) -> None:
        """Take in what travels in place of the newest task's value."""
        index = len(self.values) - 1
        match other:
            case bytes():
                self._pickles[index] = other
            case PayloadRef():
                self._payloads[index] = other
            case Wreck():
                self._wrecks[index] = other

    def encode(self) -> bytes:
        offset = time.time() - time.monotonic()
        return msgspec.msgpack.encode(
            Result(
                chunk=self.chunk,
                values=self.values,
                laps=array("d", [lap + offset for lap in self.laps]).tobytes(),
                wrecks=self._wrecks,
                pickles=self._pickles,
                payloads=self._payloads,
            )
        )


def _wreck(cause: str, error: BaseException) -> Wreck:
    kind, message, text = describe(error)
    pickled = _pickle_error(error) if cause == Cause.EXCEPTION else b""
    return Wreck(cause=cause, type=kind, message=message, traceback=text, pickled=pickled)


def _pickle_error(error: BaseException) -> bytes:
    """Return the exception's pickle; nothing where it has none, or one that is too large."""
    try:
        data = pickle_result(error)
    except BaseException:  # noqa: BLE001  # pickling calls the methods of the user's exception
        return b""
    return data if len(data) <= LARGEST_ERROR else b""


def _is_small_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _NUMBERS or value is None:
        return is_plain(value)
    if kind is str and len(value) < _SHORT:
        return is_plain(value)
    try:
        return is_plain(value) and len(msgspec.json.encode(value)) <= INLINE_LIMIT
    except RecursionError:
        return False


def _store(value: Any) -> bytes | PayloadRef:
    try:
        data = pickle_result(value)
    except Exception as error:
        raise _UnpicklableError(
            f"cannot return a {type(value).__qualname__} from a task: it cannot be pickled"
            f" ({error}). Return its data instead, or write it to current_task().directory."
        ) from error
    assert current.runner is not None, "tasks come after the setup"
    assert current.index is not None, "it is set around every task"
    run = current.runner.run_directory
    if run is None or len(data) <= INLINE_LIMIT:
        return data
    name = f"{current.keys[current.index]}.{current.attempt}"
    try:
        return write_payload(data, run=run, stage=current.stage, name=name)
    except OSError as error:
        raise _UnstorableError(
            f"cannot store the value of task {current.keys[current.index]!r} under"
            f" {str(run / 'payloads')!r}: {error.strerror}. Free space, then resume the run."
        ) from error


def _die_with(parent: int) -> None:
    """Be killed when the worker's main thread ends, even while native code holds the GIL."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _detach(fd: int) -> None:
    """Let a forked child hold no end of the stream: the runner's death must show as its end."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nowhere, fd, inheritable=False)
    os.close(nowhere)


def main(arguments: list[str]) -> None:
    """Serve one slot: file descriptors and the slot's name, device and cores are the arguments."""
    parent, fd, progress_fd, trace_fd = map(int, arguments[:4])
    slot, device, cores = arguments[4:7]
    _die_with(parent)
    keep_freed_memory()
    allowed = tuple(int(core) for core in cores.split(",") if core)
    if allowed:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)
    for descriptor in (fd, progress_fd, trace_fd):
        os.set_inheritable(descriptor, False)
    faulthandler.enable(trace_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=fd)
    os.register_at_fork(after_in_child=lambda: _detach(fd))
    stream = cast("BinaryIO", connection.makefile("rwb", buffering=1 << 20))
    context = {"slot": slot, "device": device, "cores": allowed}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Runner(stream, Progress(progress_fd), context).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
