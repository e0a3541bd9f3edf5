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
from types import NoneType
from typing import Any

import msgspec

from hpcflow.core.event import PayloadRef
from hpcflow.core.plain import is_plain
from hpcflow.core.task import Cause
from hpcflow.farm.context import RunnerContext, RunningChunk, current
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
    write_result,
)
from hpcflow.journal.payload import INLINE_LIMIT, write_payload

FLUSH_S = 0.02
"""Outcomes wait at most about this long for the rest of their chunk [s]."""
LONGEST_TEXT = 20_000
"""Characters kept of an error's message and of its traceback."""
LARGEST_ERROR = 65_536
"""Longest pickle of an exception that travels with its text [bytes]."""
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_SHORT = 1024
_SIMPLE = frozenset({int, float, bool, NoneType})
"""Classes of most values, which never change: they are looked at together, when they are sent."""
_PLAIN = frozenset({bool, NoneType, str, msgspec.Raw})
"""Classes of what travels as it is without a further look, once it is among the outcomes."""


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
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next  # how the runner came to the user's code tells them nothing
    try:
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception:  # noqa: BLE001  # so is whatever the traceback shows
        text = "".join(traceback.format_tb(frames))
    return name, _readable(message[:LONGEST_TEXT]), _readable(text[-LONGEST_TEXT:])


def _readable(text: str) -> str:
    """Return text that has a UTF-8 form: a message may hold half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


class _UnopenedError(Exception):
    """A task's function or input cannot be opened."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


class _UnpicklableError(Exception):
    """The value that a task returned cannot travel."""


class _UnstorableError(Exception):
    """The value that a task returned cannot be written: the run's trouble, not the task's."""


class Runner:
    """One slot's user code, function by function and chunk by chunk."""

    def __init__(
        self, connection: socket.socket, progress: Progress, context: dict[str, Any]
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._context = context
        self._functions: dict[int, bytes] = {}
        self._callables: dict[int, Callable[[Any], Any]] = {}
        self._works = msgspec.msgpack.Decoder(Work)
        self._forked = False
        self._lock = threading.Lock()
        """Held to take outcomes and send them. Adding to them needs no lock."""
        self._outcomes: _Outcomes | None = None
        self._several = threading.Event()
        """Set while there is a chunk of more tasks than one."""
        threading.Thread(target=self._flush_late, name="hpcflow-flush", daemon=True).start()

    def serve(self) -> None:
        """Answer frames until the worker closes the stream."""
        while (frame := read_frame(self._connection)) is not None:
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

    def become_forked(self) -> None:
        """Answer nothing any more, and hold no end of the stream: this is a child of the runner.

        The runner's death must show as the stream's end, whatever its children do.
        """
        self._forked = True
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, self._connection.fileno(), inheritable=False)
        os.close(nowhere)

    # -- before tasks

    def _answer(self, action: Callable[[bytes], tuple[Up, bytes]], body: bytes) -> None:
        try:
            kind, answer = action(body)
        except BaseException as error:  # noqa: BLE001  # a preload is user code as well
            kind, answer = Up.REFUSED, describe(error)[2].encode("utf-8", "replace")
        write_frame(self._connection, kind, answer)

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

    def _run(self, work: Work) -> None:
        """Run the tasks of a chunk, and answer them."""
        inputs = pickle.loads(work.values) if work.values else work.inputs
        now = time.monotonic()
        current.chunk = RunningChunk(work, now)
        self._outcomes = _Outcomes(current.chunk)
        self._progress.chunk[0] = work.chunk
        if len(inputs) > 1:
            self._several.set()
        self._run_tasks(inputs, self._outcomes)
        self._several.clear()
        self._flush(Up.LAST)
        self._progress.place[0] = 0
        current.chunk = None

    def _run_tasks(self, inputs: list[Any], outcomes: _Outcomes) -> None:
        """Run one task after the other. What is done here is done for each, so it is little."""
        work, laps, values = outcomes.chunk.work, outcomes.chunk.laps, outcomes.values
        progress, monotonic = self._progress, time.monotonic
        place, started, recalled = progress.place, progress.started, progress.recalled
        chunk, now = work.chunk, laps[0]
        call: Callable[[Any], Any] | None = None
        for nth, given in enumerate(inputs, 1):
            if now > outcomes.due:
                self._flush(Up.RESULT)
                now = laps[-1] = monotonic()  # the next task starts only now
            if recalled[0] >= chunk:
                break
            started[0] = now  # before its place: see Progress
            place[0] = nth
            try:
                if call is None:
                    call = self._call(work)
                value = call(given)
            except BaseException as error:  # noqa: BLE001  # the one place: whatever it raises
                value = _wreck(error)
            else:
                if type(value) not in _SIMPLE:
                    value = outcomes.pack(value)
            if self._forked:
                os._exit(0)  # a child that the task forked has come out of it
            values.append(value)
            now = monotonic()
            laps.append(now)  # after its value: see _Outcomes

    def _call(self, work: Work) -> Callable[[Any], Any]:
        """Return what a chunk's inputs are given to, one by one."""
        function = self._callables.get(work.function)
        if function is None:
            function = _open(self._functions[work.function])
            self._callables[work.function] = function
        return function if work.values else lambda blob: function(_open(blob))

    def _flush(self, kind: Up) -> None:
        """Send what has ended, before anything else is begun."""
        self._progress.started[0] = math.inf
        with self._lock:
            self._send(kind)

    def _flush_late(self) -> None:
        """Send what has ended before a task that goes on and on in the same chunk."""
        while True:
            self._several.wait()
            assert self._outcomes is not None, "there are several"
            early_s = self._outcomes.due - time.monotonic()
            time.sleep(early_s if early_s > 0 else FLUSH_S)
            with self._lock:
                if time.monotonic() >= self._outcomes.due:
                    self._send(Up.RESULT)

    def _send(self, kind: Up) -> None:
        """Send what has ended, if there is anything. The lock is held."""
        assert self._outcomes is not None, "a chunk is under way, or has just been"
        result = self._outcomes.take()
        if result.values or kind is Up.LAST:
            write_result(self._connection, kind, result)


class _Outcomes:
    """What the tasks of a chunk have come to, until it is sent.

    The main thread appends each value, or what travels in its place, and then the lap that says
    that the task has ended: whoever takes as many values as there are laps takes whole outcomes.
    """

    def __init__(self, chunk: RunningChunk) -> None:
        self.chunk = chunk
        self.values: list[Any] = []
        """Those that have not been taken."""
        self.due = chunk.laps[0] + FLUSH_S
        """When to take what there is; a task that ends later is taken at once [s, monotonic]."""
        self._taken = 0

    def pack(self, value: Any) -> Any:
        """Return what travels in place of the value of the task that runs."""
        return _pack(value, self.chunk, len(self.chunk.laps) - 1)

    def take(self) -> Result:
        """Return the outcomes of the tasks that have ended, and keep them no longer."""
        laps = self.chunk.laps[self._taken :]
        count = len(laps) - 1
        values = self.values[:count]
        del self.values[:count]
        offset = time.time() - time.monotonic()
        result = Result(
            chunk=self.chunk.work.chunk,
            values=values,
            laps=array("d", [lap + offset for lap in laps]).tobytes(),
        )
        if not _are_plain(values):
            self._sort(result)
        self._taken += count
        self.due = laps[-1] + FLUSH_S
        return result

    def _sort(self, result: Result) -> None:
        """Give what is no plain value its own column."""
        for index, value in enumerate(result.values):
            odd = type(value) in _SIMPLE and not is_plain(value)
            match _pack(value, self.chunk, self._taken + index) if odd else value:
                case bytes() as pickled:
                    result.pickles[index] = pickled
                case PayloadRef() as stored:
                    result.payloads[index] = stored
                case Wreck() as wreck:
                    result.wrecks[index] = wreck
                case _:
                    continue
            result.values[index] = None


def _open(blob: bytes) -> Any:
    try:
        return pickle.loads(blob)
    except BaseException as error:
        raise _UnopenedError(error) from error


def _wreck(error: BaseException) -> Wreck:
    """Return what is told of an exception that came out of a task."""
    if isinstance(error, _UnopenedError):
        return _described(Cause.INPUT, error.reason)
    return _described(Cause.EXCEPTION, error, pickled=_pickle_error(error))


def _described(cause: str, error: BaseException, pickled: bytes = b"") -> Wreck:
    kind, message, text = describe(error)
    return Wreck(cause=cause, type=kind, message=message, traceback=text, pickled=pickled)


def _pickle_error(error: BaseException) -> bytes:
    """Return the exception's pickle; nothing where it has none, or one that is too large."""
    try:
        data = pickle_result(error)
    except BaseException:  # noqa: BLE001  # pickling calls the methods of the user's exception
        return b""
    return data if len(data) <= LARGEST_ERROR else b""


def _are_plain(values: list[Any]) -> bool:
    """Return whether all of these travel as they are. False only costs a closer look."""
    kinds = set(map(type, values))
    if not kinds <= _SIMPLE:
        return kinds <= _PLAIN
    numbers = list(filter(None, values))
    if not numbers:
        return True
    try:  # an infinity or NaN shows in the sum
        return math.isfinite(sum(numbers)) and min(numbers) >= -(2**63) and max(numbers) < 2**64
    except OverflowError:  # an integer that no float holds
        return False


def _pack(value: Any, chunk: RunningChunk, index: int) -> Any:
    """Return what travels in place of a value that a task of a chunk has returned."""
    try:
        if not _is_small_plain(value):
            return _store(value, chunk, index)
        if type(value) is str:
            return value
        return msgspec.Raw(msgspec.msgpack.encode(value))  # as it is now: the next task may add
    except _UnstorableError as error:
        return _described(STORAGE, error)
    except BaseException as error:  # noqa: BLE001  # pickling calls the methods of the user's value
        return _described(Cause.RESULT, error)


def _is_small_plain(value: Any) -> bool:
    if type(value) is str and len(value) < _SHORT:
        return is_plain(value)
    try:
        return is_plain(value) and len(msgspec.json.encode(value)) <= INLINE_LIMIT
    except RecursionError:
        return False


def _store(value: Any, chunk: RunningChunk, index: int) -> bytes | PayloadRef:
    try:
        data = pickle_result(value)
    except Exception as error:
        raise _UnpicklableError(
            f"cannot return a {type(value).__qualname__} from a task: it cannot be pickled"
            f" ({error}). Return its data instead, or write it to current_task().directory."
        ) from error
    assert current.runner is not None, "tasks come after the setup"
    run = current.runner.run_directory
    if run is None or len(data) <= INLINE_LIMIT:
        return data
    name = f"{chunk.keys[index]}.{chunk.work.attempt}"
    try:
        return write_payload(data, run=run, stage=chunk.work.stage, name=name)
    except OSError as error:
        raise _UnstorableError(
            f"cannot store the value of task {chunk.keys[index]!r} under"
            f" {str(run / 'payloads')!r}: {error.strerror}. Free space, then resume the run."
        ) from error


def _die_with(parent: int) -> None:
    """Be killed when the worker's main thread ends, even while native code holds the GIL."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _be_punctual() -> None:
    """Have waits end when they should, in this thread and all that begin here.

    The kernel lets each wait last up to 50 us longer, so that several can end at a time: that is a
    twentieth of what a task takes that looks at its device every millisecond.
    """
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)


def main(arguments: list[str]) -> None:
    """Serve one slot: file descriptors and the slot's name, device and cores are the arguments."""
    parent, fd, progress_fd, trace_fd = map(int, arguments[:4])
    slot, device, cores = arguments[4:7]
    _die_with(parent)
    _be_punctual()
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
    context = {"slot": slot, "device": device, "cores": allowed}
    runner = Runner(connection, Progress(progress_fd), context)
    os.register_at_fork(after_in_child=runner.become_forked)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        runner.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
