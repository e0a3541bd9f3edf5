r"""The farm's own processes: a Dask scheduler, and Dask workers that serve slots.

    python -m hpcflow.farm.process --directory DIR --parent FD scheduler
    python -m hpcflow.farm.process --directory DIR --parent FD worker --name NAME \
        --resources '[{"cores": [0, 1]}]'

is how a farm starts them on this machine; they end when `FD`, a pipe held open by whoever started
them, closes, so nothing outlives a killed driver. In a batch job, `hpcflow scheduler` and
`hpcflow worker` run the same functions, and end with the job's steps.

`DIR` is the run directory: certificates lie in its `security/`, the scheduler's address in its
`scheduler.json`, with the batch job that wrote it: the file of an earlier job is never used. Where
several schedulers share the workers, the first makes the certificates and `scheduler.json`, and
each of the others its own `scheduler-2.json` and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dask
import msgspec
import psutil
from distributed import Scheduler, Worker
from distributed.utils import get_ip, get_ip_interface

from hpcflow.core.resources import SlotResources
from hpcflow.errors import FarmError, RequestError, nearest
from hpcflow.farm.rendezvous import publish_scheduler, scheduler_address
from hpcflow.farm.security import (
    create_credentials,
    credentials_id,
    load_security,
    remove_credentials,
)
from hpcflow.farm.slots import Slots
from hpcflow.farm.tuning import settings
from hpcflow.journal.directory import RunDirectory

_PR_SET_CHILD_SUBREAPER = 36
SLOTS = "hpcflow-slots"
"""The Dask resource by which a worker says how many slots it serves."""


class _QuietScheduler(Scheduler):
    """Without an HTTP server: anybody on the machine could read it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        pass


class _QuietWorker(Worker):
    """Without an HTTP server: anybody on the machine could read it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What every process of a farm is told."""

    directory: RunDirectory
    host: str = "127.0.0.1"
    """Address to listen on."""
    batch: bool = False
    """Whether it is a step of a batch script; else a driver starts it for itself."""
    job: str | None = None
    """Id of the batch job, where the batch system gives one."""
    shard: int = 1
    """Which of the farm's schedulers this is, or belongs to."""
    workers: int = 1
    """Workers that the scheduler will have, or an upper bound: time-outs grow with them."""
    parent: int | None = None
    """The pipe whose end ends the process."""
    temporary: bool = False
    """Whether the directory goes with the farm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRole:
    """What one worker serves."""

    name: str
    resources: Sequence[SlotResources]
    node: str
    scratch: Path | None = None
    """Node-local directory; the system's temporary one if None."""


def run_scheduler(place: Place) -> None:
    """Be the scheduler of a farm until it ends."""
    dask.config.set(settings(place.workers))
    asyncio.run(_schedule(place))


def run_worker(place: Place, role: WorkerRole) -> None:
    """Be a worker of a farm until its scheduler ends."""
    dask.config.set(settings(place.workers))
    asyncio.run(_work(place, role))


def address_of(interface: str | None) -> str:
    """Return the address to listen on: an interface's, or the one by which others know the host.

    Raises
    ------
    RequestError
        If there is no such interface.
    """
    if interface is None:
        return str(get_ip())
    try:
        return str(get_ip_interface(interface))
    except ValueError:
        raise RequestError(
            f"cannot listen on interface {interface!r}:"
            f" {nearest(interface, psutil.net_if_addrs())} Correct --interface."
        ) from None


async def _schedule(place: Place) -> None:
    directory, leads = place.directory, place.shard == 1
    if place.batch:
        directory.scheduler_file(place.shard).unlink(missing_ok=True)
        if leads:
            create_credentials(directory.security)
        else:
            await _address(place, shard=1)  # by then the credentials are this session's
    credentials = credentials_id(directory.security)

    def clear() -> None:
        """Leave nothing of this session, nor anything away of a session that has begun since."""
        if credentials_id(directory.security) == credentials:
            directory.scheduler_file(place.shard).unlink(missing_ok=True)
            if leads:
                remove_credentials(directory.security)
            if leads and place.temporary:
                shutil.rmtree(directory.path, ignore_errors=True)

    _end_with(place.parent, clear)
    scheduler = await _QuietScheduler(
        host=place.host, port=0, protocol="tls", security=load_security(directory.security)
    )
    publish_scheduler(directory, scheduler.address, job=place.job, shard=place.shard)
    await scheduler.finished()


async def _work(place: Place, role: WorkerRole) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="hpcflow-", dir=role.scratch))

    def clear() -> None:
        shutil.rmtree(scratch, ignore_errors=True)

    _end_with(place.parent, clear)
    _adopt_orphans()
    address = await _address(place, shard=place.shard)
    worker = await _QuietWorker(
        address,
        name=role.name,
        host=place.host,
        protocol="tls",
        security=load_security(place.directory.security),
        nthreads=1,
        memory_limit=0,
        local_directory=str(scratch),
        resources={SLOTS: len(role.resources)},
        plugins=(Slots(role.resources, node=role.node),),
    )
    await worker.finished()
    clear()


def _adopt_orphans() -> None:
    """Become the parent of what runners leave behind, so that it can be found and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def _address(place: Place, *, shard: int) -> str:
    """Wait for the scheduler of a shard: another process starts it."""
    limit_s = 600.0
    deadline = time.monotonic() + limit_s
    while (address := scheduler_address(place.directory, job=place.job, shard=shard)) is None:
        if time.monotonic() > deadline:
            raise FarmError(
                f"cannot join the farm of {str(place.directory.path)!r}: no scheduler has come up"
                f" within {limit_s:g} s. Look into the scheduler's log."
            )
        await asyncio.sleep(0.02)
    return address


def _end_with(parent: int | None, clear: Callable[[], None]) -> None:
    """End this process, and all it started, when the pipe closes or on SIGTERM."""

    def end() -> None:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
        clear()
        os._exit(0)  # whatever the state of Dask, the farm is over

    loop = asyncio.get_running_loop()
    if parent is not None:
        loop.add_reader(parent, end)
    loop.add_signal_handler(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@click.group()
@click.option("--directory", type=click.Path(path_type=Path), required=True)
@click.option("--parent", type=int, required=True)
@click.option("--temporary", is_flag=True)
@click.option("--shard", type=int, default=1)
@click.option("--workers", type=int, default=1)
@click.pass_context
def main(
    context: click.Context,
    *,
    directory: Path,
    parent: int,
    temporary: bool,
    shard: int,
    workers: int,
) -> None:
    """Run one process of a farm on this machine."""
    context.obj = Place(
        directory=RunDirectory(directory),
        parent=parent,
        temporary=temporary,
        shard=shard,
        workers=workers,
    )


@main.command()
@click.pass_obj
def scheduler(place: Place) -> None:
    """Run the scheduler."""
    run_scheduler(place)


@main.command()
@click.option("--name", required=True)
@click.option("--resources", required=True)
@click.pass_obj
def worker(place: Place, *, name: str, resources: str) -> None:
    """Run a worker and its slots, whose resources are given as JSON."""
    slots = msgspec.json.decode(resources, type=list[SlotResources])
    run_worker(place, WorkerRole(name=name, resources=slots, node=socket.gethostname()))


if __name__ == "__main__":
    sys.exit(main())
