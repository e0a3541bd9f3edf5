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
from typing import BinaryIO

from hpcflow.errors import FarmError
from hpcflow.farm.security import create_credentials, remove_credentials
from hpcflow.journal.directory import RunDirectory

START_S = 120.0
"""Longest wait for the scheduler [s]."""
_QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning"}
_SHORT_LIFE_S = 10.0
_MOST_SHORT_LIVES = 20
"""A worker that ends within `_SHORT_LIFE_S` more often than this in a row breaks the farm."""


class LocalProcesses:
    """Scheduler and workers on loopback. A worker that dies is started again."""

    def __init__(
        self, directory: RunDirectory, *, slots: int, workers: int, keep_logs: bool
    ) -> None:
        """Start the processes; they come up while the caller goes on.

        Parameters
        ----------
        directory
            For certificates, the scheduler's address and logs.
        slots
            Slots in all, shared evenly among the workers.
        workers
            Worker processes.
        keep_logs
            Whether what tasks print goes to files in the run directory, or to the terminal.

        Raises
        ------
        FarmError
            If a process cannot be started.
        """
        self._directory = directory
        self._keep_logs = keep_logs
        self._read, self._write = os.pipe()
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._shares = {
            f"w{i}": slots * (i + 1) // workers - slots * i // workers for i in range(workers)
        }
        directory.scheduler_file.unlink(missing_ok=True)
        create_credentials(directory.security)
        try:
            self._scheduler = self._start("scheduler")
        except FarmError:
            self._close_pipe()
            raise
        try:
            for name in self._shares:
                self._start_worker(name)
        except FarmError:
            self.close()
            raise

    def _start_worker(self, name: str) -> None:
        self._workers[name] = self._start(
            "worker", "--name", name, "--slots", str(self._shares[name])
        )

    def _start(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "hpcflow.farm.process"),
            *("--directory", str(self._directory.path.absolute())),
            *("--host", "127.0.0.1", "--parent", str(self._read), role, *options),
        ]
        lets_through = role == "worker" and not self._keep_logs
        try:
            with self._open_log(role, *options) as log:
                return subprocess.Popen(
                    command,
                    pass_fds=(self._read,),
                    env={**os.environ, **_QUIET} if lets_through else None,
                    stdin=subprocess.DEVNULL,
                    stdout=None if lets_through else log,
                    stderr=None if lets_through else log,
                    start_new_session=True,
                )
        except OSError as error:
            raise FarmError(
                f"cannot start a {role}: {error.strerror}. Check the limits on processes and open"
                " files (ulimit -a), and the space for logs."
            ) from None

    def _open_log(self, role: str, *options: str) -> BinaryIO:
        fd = os.open(self._log(role, *options), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(fd, "ab")

    def _log(self, role: str, *options: str) -> Path:
        return self._directory.logs / f"{options[1] if options else role}.log"

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
                log = self._log("scheduler")
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
        try:
            self._watch_over()
        except FarmError as error:
            broken(error)

    def _watch_over(self) -> None:
        short_lives = dict.fromkeys(self._workers, 0)
        born = dict.fromkeys(self._workers, time.monotonic())
        while not self._closing.wait(0.2):
            if self._scheduler.poll() is not None:
                code = self._scheduler.returncode
                raise self._hopeless(f"the scheduler ended with code {code}")
            dead = [name for name, process in self._workers.items() if process.poll() is not None]
            for name in dead:
                lived_s = time.monotonic() - born[name]
                short_lives[name] = short_lives[name] + 1 if lived_s < _SHORT_LIFE_S else 0
                if short_lives[name] > _MOST_SHORT_LIVES:
                    raise self._hopeless(f"worker {name} ended again and again")
                born[name] = time.monotonic()
                self._start_worker(name)

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
        self._close_pipe()
        for process in (*self._workers.values(), self._scheduler):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._directory.scheduler_file.unlink(missing_ok=True)
        remove_credentials(self._directory.security)

    def _close_pipe(self) -> None:
        """Close the pipe by whose end the processes know that they are not wanted any more."""
        os.close(self._write)
        os.close(self._read)
