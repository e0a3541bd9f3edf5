"""The farm's own processes: a Dask scheduler, and Dask workers that serve slots.

    python -m hpcflow.farm.process scheduler --directory DIR --host HOST --parent FD
    python -m hpcflow.farm.process worker --directory DIR --host HOST --name NAME --slots N --parent FD

`DIR` is the run directory: certificates come from its `security/`, the scheduler's address goes
to its `scheduler.json`. A process ends when `FD`, a pipe held open by whoever started it, closes:
so nothing outlives a killed driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import dask
import psutil
from distributed import Scheduler, Worker

from hpcflow.core.resources import share_cores
from hpcflow.farm.security import load_security
from hpcflow.farm.slots import Slots
from hpcflow.farm.tuning import DASK_SETTINGS
from hpcflow.journal.directory import RunDirectory


class _QuietScheduler(Scheduler):
    """Without an HTTP server: anybody on the machine could read it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        pass


class _QuietWorker(Worker):
    """Without an HTTP server: anybody on the machine could read it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        pass


def _end_with(parent: int, scratch: Path | None = None) -> None:
    """End this process when the pipe `parent` closes, or on SIGTERM, and all it started."""

    def end() -> None:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)  # whatever the state of Dask, the farm is over

    loop = asyncio.get_running_loop()
    loop.add_reader(parent, end)
    loop.add_signal_handler(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _schedule(directory: RunDirectory, *, host: str, parent: int) -> None:
    _end_with(parent)
    security = load_security(directory.security)
    scheduler = await _QuietScheduler(host=host, port=0, protocol="tls", security=security)
    temporary = directory.scheduler_file.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump({"address": scheduler.address, "pid": os.getpid()}, file)
    temporary.replace(directory.scheduler_file)
    await scheduler.finished()


async def _work(directory: RunDirectory, *, host: str, parent: int, name: str, slots: int) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="hpcflow-"))
    _end_with(parent, scratch)
    while not directory.scheduler_file.exists():  # noqa: ASYNC110  # another process writes it
        await asyncio.sleep(0.02)
    address = json.loads(directory.scheduler_file.read_text())["address"]
    worker = await _QuietWorker(
        address,
        name=name,
        host=host,
        protocol="tls",
        security=load_security(directory.security),
        nthreads=1,
        memory_limit=0,
        local_directory=str(scratch),
        plugins=(Slots(share_cores(sorted(os.sched_getaffinity(0)), slots)),),
    )
    await worker.finished()


@click.group()
def main() -> None:
    """Run one process of a farm."""
    dask.config.set(DASK_SETTINGS)


_directory = click.option("--directory", type=click.Path(path_type=Path), required=True)
_host = click.option("--host", required=True)
_parent = click.option("--parent", type=int, required=True)


@main.command()
@_directory
@_host
@_parent
def scheduler(directory: Path, host: str, parent: int) -> None:
    """Run the scheduler."""
    asyncio.run(_schedule(RunDirectory(directory), host=host, parent=parent))


@main.command()
@_directory
@_host
@_parent
@click.option("--name", required=True)
@click.option("--slots", type=int, required=True)
def worker(directory: Path, host: str, parent: int, name: str, slots: int) -> None:
    """Run a worker and its slots."""
    asyncio.run(
        _work(RunDirectory(directory), host=host, parent=parent, name=name, slots=slots)
    )


if __name__ == "__main__":
    sys.exit(main())
