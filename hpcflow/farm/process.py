r"""The farm's own processes: a Dask scheduler, and Dask workers that serve slots.

    python -m hpcflow.farm.process --directory DIR --host HOST --parent FD scheduler
    python -m hpcflow.farm.process --directory DIR --host HOST --parent FD worker \
        --name NAME --slots N

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
import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What every process of a farm is told."""

    directory: RunDirectory
    host: str
    parent: int


async def _schedule(place: _Place) -> None:
    _end_with(place.parent)
    security = load_security(place.directory.security)
    scheduler = await _QuietScheduler(host=place.host, port=0, protocol="tls", security=security)
    path = place.directory.scheduler_file
    temporary = path.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump({"address": scheduler.address, "pid": os.getpid()}, file)
    temporary.replace(path)
    await scheduler.finished()


async def _work(place: _Place, *, name: str, slots: int) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="hpcflow-"))
    _end_with(place.parent, scratch)
    scheduler_file = place.directory.scheduler_file
    while not scheduler_file.exists():  # noqa: ASYNC110  # another process writes it
        await asyncio.sleep(0.02)
    worker = await _QuietWorker(
        json.loads(scheduler_file.read_text())["address"],
        name=name,
        host=place.host,
        protocol="tls",
        security=load_security(place.directory.security),
        nthreads=1,
        memory_limit=0,
        local_directory=str(scratch),
        plugins=(Slots(share_cores(sorted(os.sched_getaffinity(0)), slots)),),
    )
    await worker.finished()


@click.group()
@click.option("--directory", type=click.Path(path_type=Path), required=True)
@click.option("--host", required=True)
@click.option("--parent", type=int, required=True)
@click.pass_context
def main(context: click.Context, *, directory: Path, host: str, parent: int) -> None:
    """Run one process of a farm."""
    dask.config.set(DASK_SETTINGS)
    context.obj = _Place(directory=RunDirectory(directory), host=host, parent=parent)


@main.command()
@click.pass_obj
def scheduler(place: _Place) -> None:
    """Run the scheduler."""
    asyncio.run(_schedule(place))


@main.command()
@click.option("--name", required=True)
@click.option("--slots", type=int, required=True)
@click.pass_obj
def worker(place: _Place, name: str, slots: int) -> None:
    """Run a worker and its slots."""
    asyncio.run(_work(place, name=name, slots=slots))


if __name__ == "__main__":
    main()
