"""A runner as its worker sees it: start it, feed it, watch it, end it, and say what it died of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpcflow.core.resources import SlotResources
from hpcflow.core.task import Cause
from hpcflow.farm.wire import HEAD, Culprit, Down, Progress, Up

_BUFFER = 1 << 20
_GRACE_S = 5.0
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
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
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        page = os.memfd_create("hpcflow-progress")
        os.ftruncate(page, 4096)
        self._trace = os.memfd_create("hpcflow-trace")
        self.progress = Progress(page)
        self._socket = ours
        self._limits: deque[_Limit] = deque()
        self._limited = asyncio.Event()
        self._ended_for: Cause | None = None
        self._cancelled = False
        self.booted = time.time()
        descriptors = (theirs.fileno(), page, self._trace)
        cores = ",".join(map(str, resources.cores))
        threads = str(max(1, len(resources.cores) if slots == 1 else len(resources.cores) // slots))
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
                env={**os.environ, **dict.fromkeys(_THREADS, threads)},
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

    async def connect(self) -> None:
        """Attach the socket pair to the event loop."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=_BUFFER)

    def send(self, kind: Down, body: bytes) -> None:
        """Send one frame."""
        self._writer.write(HEAD.pack(len(body), kind))
        self._writer.write(body)

    async def receive(self) -> tuple[Up, bytes] | None:
        """Return the next frame's kind and body, or None once the runner has ended."""
        try:
            size, kind = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            return Up(kind), await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    # -- time limits

    def limit(self, chunk: int, limit_s: float) -> None:
        """Kill the runner if a task of `chunk` runs longer than `limit_s` [s]."""
        self._limits.append(_Limit(chunk, limit_s))
        self._limited.set()

    async def watch(self) -> None:
        """Enforce time limits until cancelled."""
        while True:
            await self._limited.wait()
            await asyncio.sleep(self._until_overrun())

    def _until_overrun(self) -> float:
        """Kill an overrunning task; return when to look again [s]."""
        running = self.progress.read()
        if running is not None:
            chunk, _, started = running
            while self._limits and self._limits[0].chunk < chunk:
                self._limits.popleft()
            if not self._limits:
                self._limited.clear()
            elif self._limits[0].chunk == chunk:
                left = started + self._limits[0].limit_s - time.monotonic()
                if left <= 0:
                    self._ended_for = Cause.TIME_LIMIT
                    self.kill()
                return min(max(left, 0.01), 1.0)
        return 0.1

    # -- the end

    def cancel(self, chunk: int) -> None:
        """End the runner, blaming no task, unless it is known to be done with `chunk`."""
        running = self.progress.read()
        if running is None or running[0] <= chunk:
            self._cancelled = True
            self.kill()

    def kill(self) -> None:
        """Kill the runner and every process it started."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()

    async def bury(self) -> tuple[str, Culprit | None]:
        """Wait for the runner's end; return what it died of and the task that ran, if any did."""
        for _ in range(int(_GRACE_S / 0.01)):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        self.kill()
        code = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        verdict = self._autopsy(code)
        self._writer.close()
        self.progress.close()
        os.close(self._trace)
        return verdict

    def _autopsy(self, code: int) -> tuple[str, Culprit | None]:
        cause, message = self._cause(code)
        running = self.progress.read()
        if running is None:
            return f"its runner ended while idle: {message}", None
        chunk, index, started = running
        offset = time.time() - time.monotonic()
        culprit = Culprit(
            chunk=chunk,
            index=index,
            cause=None if self._cancelled else str(cause),
            message=message,
            traceback=os.pread(self._trace, 1 << 16, 0).decode("utf-8", "replace"),
            started=started + offset,
            finished=time.time(),
        )
        return message, culprit

    def _cause(self, code: int) -> tuple[Cause, str]:
        if self._cancelled:
            return Cause.SIGNAL, "its task was cancelled"
        if self._ended_for is Cause.TIME_LIMIT:
            limit = self._limits[0].limit_s if self._limits else 0.0
            return Cause.TIME_LIMIT, f"the task ran past its time limit of {limit:g} s"
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return Cause.SIGNAL, f"the runner was killed by {name}{hint}"
        return Cause.EXIT, f"the task ended its process with exit code {code}"
