"""A runner as its worker sees it: start it, feed it, watch it, end it, and say what it died of."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpcflow.core.resources import SlotResources
from hpcflow.core.task import Cause
from hpcflow.farm.pipe import Frame, Pipe
from hpcflow.farm.wire import HEAD, Culprit, Death, Down, Progress

Said = tuple[int, memoryview]
"""A frame from a runner: which kind of `Up`, and its body."""
_KIND = HEAD.size - 1
_BUFFER = 1 << 20
_GRACE_S = 2.0
_IDLE_S = 0.1
MARK = "HPCFLOW_RUNNER"
"""Stands in the environment of a runner and of all that it starts, and says which one it was."""
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENMM_CPU_THREADS",
)


@dataclass(frozen=True, slots=True)
class _Limit:
    chunk: int
    limit_s: float


class Child:
    """One runner process."""

    def __init__(
        self, slot: str, resources: SlotResources, log: Path | None, *, slots: int
    ) -> None:
        """Start the process.

        Parameters
        ----------
        slot
            The slot's name.
        resources
            What it is pinned to.
        log
            Where its output goes; None lets it through.
        slots
            Slots that share the cores, if there are more slots than cores.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        ours, theirs = _socket_pair()
        page = os.memfd_create("hpcflow-progress")
        os.ftruncate(page, 4096)
        self._trace = os.memfd_create("hpcflow-trace")
        self.progress = Progress(page)
        self._socket = ours
        self._pipe = Pipe(ours, head_bytes=HEAD.size)
        self._limits: deque[_Limit] = deque()
        self._limited = asyncio.Event()
        self._overrun_s: float | None = None
        self._mark = f"{slot}-{uuid.uuid4().hex}"
        self._cancelled = False
        self.booted = time.time()
        descriptors = (theirs.fileno(), page, self._trace)
        cores = ",".join(map(str, resources.cores))
        threads = max(1, len(resources.cores) // slots)
        output = (
            None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-u", "-P", "-m", "hpcflow.farm.runner", str(os.getpid())),
                    *(*map(str, descriptors), slot, resources.device, cores),
                ],
                pass_fds=descriptors,
                env={
                    **os.environ,
                    **dict.fromkeys(_THREADS, str(threads)),
                    **resources.environment,
                    MARK: self._mark,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError:
            os.close(self._trace)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(page)
            if output is not None:
                os.close(output)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, kind: Down, body: bytes) -> None:
        """Send one frame."""
        self._pipe.write(HEAD.pack(len(body), kind), body)

    async def listen(self, receive: Callable[[list[Said]], None]) -> None:
        """Hand on what the runner says, as much as there is at a time, until it has ended."""

        def take(frames: list[Frame]) -> None:
            receive([(frame[_KIND], frame[HEAD.size :]) for frame in frames])

        await self._pipe.run(take)

    def hang_up(self) -> None:
        """Listen no longer."""
        self._pipe.end()

    # -- time limits

    def limit(self, chunk: int, limit_s: float) -> None:
        """Kill the runner if a task of `chunk` runs longer than `limit_s` [s]."""
        self._limits.append(_Limit(chunk, limit_s))
        self._limited.set()

    async def watch(self) -> None:
        """Enforce time limits, and notice a death that the socket does not tell."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._limited.wait(), _GRACE_S)
            if self._process.poll() is not None:
                await asyncio.sleep(_GRACE_S)  # its last words may still be on their way
                self.hang_up()
                return
            if self._limited.is_set():
                await asyncio.sleep(self._until_overrun())

    def _until_overrun(self) -> float:
        """Kill an overrunning task; return when to look again [s]."""
        running = self.progress.read()
        if running is None:
            return _IDLE_S
        chunk, _, started = running
        while self._limits and self._limits[0].chunk < chunk:
            self._limits.popleft()
        if not self._limits:
            self._limited.clear()
            return 0.0
        limit = self._limits[0]
        left = started + limit.limit_s - time.monotonic() if limit.chunk == chunk else math.inf
        if left > 0:
            return min(max(left, 0.01), _IDLE_S)
        self._signal(signal.SIGSTOP)
        if self.progress.read() == running:
            self._overrun_s = limit.limit_s
            self.kill()
        else:  # it ended in time after all, and the next one is not to blame
            self._signal(signal.SIGCONT)
        return 0.01

    # -- the end

    def cancel(self, chunk: int) -> None:
        """End the runner, blaming no task, unless it is known to be done with `chunk`."""
        running = self.progress.read()
        if running is None or running[0] <= chunk:
            self._cancelled = True
            self.kill()

    def kill(self) -> None:
        """Kill the runner and every process it started."""
        self._signal(signal.SIGSTOP)  # it must not start another while we look
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def bury(self) -> Death:
        """Wait for the runner's end; return what it died of and the task that ran, if any did."""
        for _ in range(int(_GRACE_S / 0.01)):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        else:
            self.kill()
        code = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        self._end_family()
        death = self._autopsy(code)
        self._socket.close()
        self.progress.close()
        os.close(self._trace)
        return death

    def _end_family(self) -> None:
        """Kill what the runner has started and left: it has come to this worker, its reaper."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.environ().get(MARK) == self._mark:
                        process.kill()

    def _autopsy(self, code: int) -> Death:
        cause, reason = self._cause(code)
        running = self.progress.read()
        if running is None:
            reason = f"its runner ended while idle: {reason}"
            return Death(reason=reason, on_request=self._cancelled, culprit=None)
        chunk, index, started = running
        now, offset = time.time(), time.time() - time.monotonic()
        culprit = Culprit(
            chunk=chunk,
            index=index,
            cause=cause,
            message=reason,
            traceback=os.pread(self._trace, 1 << 16, 0).decode("utf-8", "replace"),
            started=min(started + offset, now),
            finished=now,
        )
        return Death(reason=reason, on_request=self._cancelled, culprit=culprit)

    def _cause(self, code: int) -> tuple[Cause, str]:
        if self._cancelled:
            return Cause.SIGNAL, "its task was cancelled"
        if self._overrun_s is not None:
            limit = f"{self._overrun_s:g} s"
            return Cause.TIME_LIMIT, f"the task ran past its time limit of {limit}"
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return Cause.SIGNAL, f"the runner was killed by {name}{hint}"
        return Cause.EXIT, f"the task ended its process with exit code {code}"


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the worker's end, which does not block, and the runner's."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    ours.setblocking(False)
    return ours, theirs
