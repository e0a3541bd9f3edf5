"""A farm's processes on this machine: one scheduler and its workers, started and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hpcflow.errors import FarmError
from hpcflow.farm.security import create_credentials, remove_credentials
from hpcflow.journal.directory import RunDirectory

START_S = 120.0
"""Longest wait for the scheduler [s]."""
_MOST_RESTARTS = 10
"""Restarts of one worker; one that dies more often is left dead."""


class LocalProcesses:
    """Scheduler and workers on loopback. A worker that dies is started again."""

    def __init__(self, directory: RunDirectory, *, slots: int, workers: int) -> None:
        """Start the processes; they come up while the caller goes on.

        Parameters
        ----------
        directory
            For certificates, the scheduler's address and logs.
        slots
            Slots in all, shared evenly among the workers.
        workers
            Worker processes.

        Raises
        ------
        FarmError
            If a process cannot be started.
        """
        self._directory = directory
        self._read, self._write = os.pipe()
        self._closing = threading.Event()
        directory.scheduler_file.unlink(missing_ok=True)
        create_credentials(directory.security)
        self._scheduler = self._start("scheduler")
        shares = [slots * (i + 1) // workers - slots * i // workers for i in range(workers)]
        self._commands = {
            f"w{i}": ("worker", "--name", f"w{i}", "--slots", str(share))
            for i, share in enumerate(shares)
        }
        self._workers = {name: self._start(*command) for name, command in self._commands.items()}
        self._guard: threading.Thread | None = None

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        log = self._log(command)
        with open(
            log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as output:  # Path.open takes no opener
            try:
                return subprocess.Popen(
                    [
                        *(sys.executable, "-m", "hpcflow.farm.process"),
                        *("--directory", str(self._directory.path.absolute())),
                        *("--host", "127.0.0.1", "--parent", str(self._read), *command),
                    ],
                    pass_fds=(self._read,),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise FarmError(
                    f"cannot start a {command[0]}: {error.strerror}. Check the limits on processes"
                    " and open files (ulimit -a)."
                ) from None

    def _log(self, command: tuple[str, ...]) -> Path:
        name = command[2] if len(command) > 1 else command[0]
        return self._directory.logs / f"{name}.log"

    def wait_for_address(self) -> str:
        """Return the scheduler's address.

        Raises
        ------
        FarmError
            If it does not come up: with the end of its log.
        """
        deadline = time.monotonic() + START_S
        while not self._directory.scheduler_file.exists():
            if self._scheduler.poll() is not None or time.monotonic() > deadline:
                log = self._log(("scheduler",))
                raise FarmError(
                    f"cannot start the scheduler: it ended with code {self._scheduler.poll()}."
                    f" Its log {str(log)!r} ends:\n{log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.01)
        return str(json.loads(self._directory.scheduler_file.read_text())["address"])

    def guard(self, broken: Callable[[FarmError], None]) -> None:
        """Start workers that die again, from now on.

        Parameters
        ----------
        broken
            Called once, from a thread, if the scheduler dies or no worker can be kept alive.
        """
        self._guard = threading.Thread(
            target=self._restart_dead, args=(broken,), name="hpcflow-guard", daemon=True
        )
        self._guard.start()

    def _restart_dead(self, broken: Callable[[FarmError], None]) -> None:
        restarts = dict.fromkeys(self._workers, 0)
        while not self._closing.wait(0.2):
            if self._scheduler.poll() is not None:
                broken(
                    self._hopeless(f"the scheduler ended with code {self._scheduler.returncode}")
                )
                return
            dead = [name for name, process in self._workers.items() if process.poll() is not None]
            for name in dead:
                restarts[name] += 1
                if restarts[name] <= _MOST_RESTARTS:
                    self._workers[name] = self._start(*self._commands[name])
            if dead and min(restarts.values()) > _MOST_RESTARTS:
                broken(self._hopeless(f"every worker ended {_MOST_RESTARTS} times"))
                return

    def _hopeless(self, why: str) -> FarmError:
        return FarmError(
            f"cannot go on: {why}. What came back is recorded; look into"
            f" {str(self._directory.logs)!r}, then resume."
        )

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: `scheduler`, and the workers' names."""
        workers = {name: process.pid for name, process in self._workers.items()}
        return {"scheduler": self._scheduler.pid, **workers}

    def close(self) -> None:
        """End every process and remove the session's keys."""
        self._closing.set()
        if self._guard is not None:
            self._guard.join()
        os.close(self._write)
        for process in (*self._workers.values(), self._scheduler):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(self._read)
        self._directory.scheduler_file.unlink(missing_ok=True)
        remove_credentials(self._directory.security)
