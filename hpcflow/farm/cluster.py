"""A farm's processes on this machine: schedulers and their workers, started and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
import psutil
from distributed import Client

from hpcflow.core.resources import SlotResources
from hpcflow.errors import FarmError
from hpcflow.farm.child import MARK
from hpcflow.farm.dashboard import announcement
from hpcflow.farm.processes import Gone, Work
from hpcflow.farm.rendezvous import scheduler_address
from hpcflow.farm.security import (
    create_credentials,
    remove_credentials,
    security_for,
    warn_insecure,
)
from hpcflow.farm.tuning import inherited, make_client
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import read_scheduler_file

START_S = 120.0
"""Longest wait for the scheduler [s]."""
FARM = "HPCFLOW_FARM"
"""Stands in the environment of all that a farm has started, and says which one it was."""
_QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning"}
CONNECT_S = 30.0
"""Longest wait for an answer of the scheduler on this machine [s]."""
_SHORT_LIFE_S = 10.0
_MOST_SHORT_LIVES = 20
"""A worker that ends within `_SHORT_LIFE_S` more often than this in a row breaks the farm."""


class LocalProcesses:
    """Schedulers and workers on loopback. A worker that dies is started again."""

    def __init__(
        self,
        directory: RunDirectory,
        resources: Sequence[SlotResources],
        *,
        workers: int,
        shards: int,
        keep_logs: bool,
        dashboard: bool = False,
        insecure: bool = False,
        host: str = "127.0.0.1",
        job: str | None = None,
        expected: int = 0,
    ) -> None:
        """Start the processes; they come up while the caller goes on.

        Parameters
        ----------
        directory
            For certificates, the scheduler's address and logs.
        resources
            The slots, which are shared evenly among the workers.
        workers
            Worker processes.
        shards
            Schedulers, among which the workers are shared evenly.
        keep_logs
            Whether what tasks print goes to files in the run directory, or to the terminal.
        dashboard
            Whether schedulers and workers serve Dask's dashboards, on loopback.
        insecure
            Whether they do without TLS.
        host
            Address for the schedulers to listen on.
        job
            What the schedulers' files say that they belong to: workers from elsewhere heed it.
        expected
            Further workers that may come from elsewhere.

        Raises
        ------
        FarmError
            If a process cannot be started.
        """
        self._directory = directory
        self._keep_logs = keep_logs
        self._flags = [
            *(["--dashboard"] if dashboard else []),
            *(["--insecure"] if insecure else []),
            *([] if keep_logs else ["--temporary"]),
        ]
        self._host = host
        self._job = job
        self._farm = uuid.uuid4().hex
        self._read, self._write = os.pipe()
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._options = _share(resources, workers)
        self._expected = workers + expected
        self._shards = {
            name: 1 + shards * number // workers for number, name in enumerate(self._options)
        }
        """The shard of each worker."""
        self._schedulers: dict[int, subprocess.Popen[bytes]] = {}
        _LIVE.add(self)
        create_credentials(directory.security)
        try:
            for shard in range(1, shards + 1):
                directory.scheduler_file(shard).unlink(missing_ok=True)
                name = scheduler_name(shard)
                self._schedulers[shard] = self._start("scheduler", name=name, shard=shard)
            for name in self._options:
                self._start_worker(name)
        except FarmError:
            self.close()
            raise

    def _start_worker(self, name: str) -> None:
        options = ("--name", name, *self._options[name])
        self._workers[name] = self._start("worker", *options, name=name, shard=self._shards[name])

    def _start(self, role: str, *options: str, name: str, shard: int) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "hpcflow.farm.process"),
            *("--directory", str(self._directory.path.absolute())),
            *("--parent", str(self._read)),
            *("--shard", str(shard)),
            *("--workers", str(self._expected)),
            *("--host", self._host),
            *(() if self._job is None else ("--job", self._job)),
            *self._flags,
            *(role, *options),
        ]
        lets_through = role == "worker" and not self._keep_logs
        try:
            with self._open_log(name) as log:
                return subprocess.Popen(
                    command,
                    pass_fds=(self._read,),
                    env={
                        **os.environ,
                        **inherited(self._expected),
                        **(_QUIET if lets_through else {}),
                        FARM: self._farm,
                    },
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

    def _open_log(self, name: str) -> BinaryIO:
        fd = os.open(self._log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(fd, "ab")

    def _log(self, name: str) -> Path:
        return self._directory.logs / f"{name}.log"

    def wait_for_address(self, shard: int = 1) -> str:
        """Return the address of a shard's scheduler.

        Raises
        ------
        FarmError
            If it does not come up: with the end of its log.
        """
        deadline = time.monotonic() + START_S
        process = self._schedulers[shard]
        while (address := scheduler_address(self._directory, job=self._job, shard=shard)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise self._no_scheduler(shard, f"it ended with code {process.poll()}")
            time.sleep(0.01)
        return address

    def connect(self) -> list[Client]:
        """Return a client of each shard's scheduler, in their order, once all are up.

        Raises
        ------
        FarmError
            If one does not come up, or ends again: with the end of its log.
        """
        with contextlib.ExitStack() as undo:
            clients = []
            for shard in self._schedulers:
                clients.append(self._connect(shard))
                undo.callback(clients[-1].close)
            undo.pop_all()
        return clients

    def _connect(self, shard: int) -> Client:
        address = self.wait_for_address(shard)
        insecure = address.startswith("tcp:")
        try:
            client = make_client(
                address,
                security_for(self._directory.security, insecure=insecure),
                workers=self._expected,
                timeout_s=CONNECT_S,
            )
        except OSError as error:
            raise self._no_scheduler(shard, f"it does not answer ({error})") from None
        if insecure:
            warn_insecure(address)
        content = read_scheduler_file(self._directory, shard=shard)
        if content is not None and (text := announcement(content)) is not None:
            click.echo(text, err=True)
        return client

    def _no_scheduler(self, shard: int, why: str) -> FarmError:
        log = self._log(scheduler_name(shard))
        end = log.read_text(errors="replace")[-2000:]
        return FarmError(
            f"cannot start the scheduler: {why}. Its log {str(log)!r} ends:\n{end}\nMend the cause,"
            " then start again."
        )

    def guard(self, gone: Gone, work: Work) -> None:
        """Start workers that die again, from now on.

        Parameters
        ----------
        gone
            Called if a scheduler dies, whose workers then end too, or if no worker can be kept
            alive.
        work
            Ignored: the workers are as many as were asked for.
        """
        self._guard = threading.Thread(
            target=self._restart_dead, args=(gone,), name="hpcflow-guard", daemon=True
        )
        self._guard.start()

    def _restart_dead(self, gone: Gone) -> None:
        try:
            self._watch_over(gone)
        except FarmError as error:
            gone(error, None)

    def _watch_over(self, gone: Gone) -> None:
        short_lives = dict.fromkeys(self._workers, 0)
        born = dict.fromkeys(self._workers, time.monotonic())
        lost: set[int] = set()
        while not self._closing.wait(0.2):
            for shard, scheduler in self._schedulers.items():
                if shard not in lost and scheduler.poll() is not None:
                    lost.add(shard)
                    why = f"{scheduler_name(shard)} ended with code {scheduler.returncode}"
                    gone(self._hopeless(why), shard)
            dead = [name for name, process in self._workers.items() if process.poll() is not None]
            for name in dead:
                if self._shards[name] in lost:
                    continue
                lived_s = time.monotonic() - born[name]
                short_lives[name] = short_lives[name] + 1 if lived_s < _SHORT_LIFE_S else 0
                if short_lives[name] > _MOST_SHORT_LIVES:
                    raise self._hopeless(f"worker {name} ended again and again")
                born[name] = time.monotonic()
                self._end_orphans()
                self._start_worker(name)

    def _end_orphans(self) -> None:
        """Kill what the runners of a killed worker have left: nobody else will find it."""
        families = [psutil.Process(process.pid) for process in self._living()]
        kept = {child.pid for each in families for child in _children(each)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                told = process.environ()
                if told.get(FARM) == self._farm and MARK in told and process.pid not in kept:
                    process.kill()

    def _living(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._workers.values() if process.poll() is None]

    def _hopeless(self, why: str) -> FarmError:
        return FarmError(
            f"cannot go on: {why}. What came back is recorded; look into"
            f" {str(self._directory.logs)!r}, then resume."
        )

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: `scheduler`, `scheduler-2` and so on, and the workers' names."""
        schedulers = {scheduler_name(n): process.pid for n, process in self._schedulers.items()}
        return schedulers | {name: process.pid for name, process in self._workers.items()}

    def close(self) -> None:
        """End every process and remove the session's keys."""
        self._closing.set()
        if self._guard is not None:
            self._guard.join()
        _LIVE.discard(self)
        self._close_pipe()
        for process in (*self._workers.values(), *self._schedulers.values()):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for shard in self._schedulers:
            self._directory.scheduler_file(shard).unlink(missing_ok=True)
        remove_credentials(self._directory.security)

    def abandon(self) -> None:
        """Let go of the pipe, in a child that the driver forked."""
        with contextlib.suppress(OSError):
            self._close_pipe()

    def _close_pipe(self) -> None:
        """Close the pipe by whose end the processes know that they are not wanted any more."""
        os.close(self._write)
        os.close(self._read)


def scheduler_name(shard: int) -> str:
    """Return what a shard's scheduler is called: its log, and its entry in `pids`."""
    return "scheduler" if shard == 1 else f"scheduler-{shard}"


def _share(resources: Sequence[SlotResources], workers: int) -> dict[str, tuple[str, ...]]:
    """Return each worker's options: its slots."""
    count = len(resources)
    options: dict[str, tuple[str, ...]] = {}
    for number in range(workers):
        own = resources[count * number // workers : count * (number + 1) // workers]
        options[f"w{number}"] = ("--resources", msgspec.json.encode(own).decode())
    return options


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


_LIVE: weakref.WeakSet[LocalProcesses] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Let a forked child of the driver keep no farm alive."""
    for processes in list(_LIVE):
        processes.abandon()


os.register_at_fork(after_in_child=_let_go_in_child)
