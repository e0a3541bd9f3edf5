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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hpcflow.farm.context import RunnerContext, RunningChunk, current
from hpcflow.farm.memory import keep_freed_memory
from hpcflow.farm.packing import FLUSH_S, SIMPLE, Outcomes, describe, open_pickle, wreck_of
from hpcflow.farm.wire import (
    Down,
    Progress,
    Setup,
    Up,
    Work,
    read_frame,
    write_frame,
    write_result,
)

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


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
        self._outcomes: Outcomes | None = None
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
        self._outcomes = Outcomes(current.chunk)
        self._progress.chunk[0] = work.chunk
        if len(inputs) > 1:
            self._several.set()
        self._run_tasks(inputs, self._outcomes)
        self._several.clear()
        self._flush(Up.LAST)
        self._progress.place[0] = 0
        current.chunk = None

    def _run_tasks(self, inputs: list[Any], outcomes: Outcomes) -> None:
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
                value = wreck_of(error)
            else:
                if type(value) not in SIMPLE:
                    value = outcomes.pack(value)
            if self._forked:
                os._exit(0)  # a child that the task forked has come out of it
            values.append(value)
            now = monotonic()
            laps.append(now)  # after its value: see Outcomes

    def _call(self, work: Work) -> Callable[[Any], Any]:
        """Return what a chunk's inputs are given to, one by one."""
        function = self._callables.get(work.function)
        if function is None:
            function = open_pickle(self._functions[work.function])
            self._callables[work.function] = function
        return function if work.values else lambda blob: function(open_pickle(blob))

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
