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
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import dask
import msgspec
import psutil
from distributed.utils import get_ip, get_ip_interface

from hpcflow.core.resources import SlotResources
from hpcflow.errors import FarmError, RequestError, hint
from hpcflow.farm.dashboard import LOOPBACK, announcement, tunnel
from hpcflow.farm.rendezvous import find_scheduler, publish_scheduler
from hpcflow.farm.security import (
    create_credentials,
    credentials_id,
    remove_credentials,
    security_for,
    warn_insecure,
)
from hpcflow.farm.servers import SLOTS, FarmScheduler, FarmWorker, plain_refusal
from hpcflow.farm.slots import Slots
from hpcflow.farm.tuning import settings
from hpcflow.farm.versions import own_versions, refuse_silent
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import SchedulerFile
from hpcflow.private import make_scratch

_PR_SET_CHILD_SUBREAPER = 36
_ANY_PORT = f"{LOOPBACK}:0"
START_S = 600.0
"""Longest wait of a worker for a scheduler that starts with it [s]."""
_JOIN_S = 600.0
"""Longest time for a worker to be taken in by a scheduler that has been there [s]."""
LEAVE_S = 30.0
"""A worker with a wall time of its own leaves so long before its end [s]."""


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
    patience_s: float = START_S
    """How long a worker waits for its scheduler [s]."""
    parent: int | None = None
    """The pipe whose end ends the process."""
    temporary: bool = False
    """Whether the directory goes with the farm."""
    dashboard: bool = False
    """Whether a scheduler serves Dask's dashboard, and its workers theirs, on loopback."""
    insecure: bool = False
    """Whether a scheduler does without TLS; its workers then do, too."""
    login: str | None = None
    """A host by which ours can be reached from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRole:
    """What one worker serves."""

    name: str
    resources: Sequence[SlotResources]
    node: str
    scratch: Path | None = None
    """Node-local directory; the system's temporary one if None."""
    ends_at: float | None = None
    """When the worker's own wall time is over [s since the epoch], where it has one."""


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
        help_ = hint(interface, psutil.net_if_addrs())
        raise RequestError(
            f"cannot listen on interface {interface!r}: this host has none of that name;"
            f" {help_} Correct the interface."
        ) from None


async def _schedule(place: Place) -> None:
    directory, leads = place.directory, place.shard == 1
    if place.batch:
        directory.scheduler_file(place.shard).unlink(missing_ok=True)
        if leads:
            create_credentials(directory.security)
        else:
            await _find(place, shard=1)  # by then the credentials are this session's
    credentials = credentials_id(directory.security)
    scratch = make_scratch(None)  # Dask's own would be in a place that all users share

    def clear() -> None:
        """Leave nothing of this session, nor anything away of a session that has begun since.

        The first scheduler may have removed the credentials already.
        """
        shutil.rmtree(scratch, ignore_errors=True)
        if credentials_id(directory.security) in {credentials, None}:
            directory.scheduler_file(place.shard).unlink(missing_ok=True)
            if leads:
                remove_credentials(directory.security, credentials)
            if leads and place.temporary:
                shutil.rmtree(directory.path, ignore_errors=True)

    _end_with(place.parent, clear)
    scheduler = await FarmScheduler(
        host=place.host,
        port=0,
        protocol="tcp" if place.insecure else "tls",
        security=security_for(directory.security, insecure=place.insecure),
        dashboard_address=_ANY_PORT if place.dashboard else None,
        local_directory=str(scratch),
    )
    content = _introduce(scheduler, place)
    publish_scheduler(directory, content, shard=place.shard)
    if place.insecure:
        warn_insecure(content.address)
    if (text := announcement(content)) is not None:
        click.echo(text, err=True)
    await scheduler.finished()


def _introduce(scheduler: FarmScheduler, place: Place) -> SchedulerFile:
    node, dashboard, way = socket.gethostname(), None, None
    if place.dashboard:
        port = scheduler.services["dashboard"].port
        dashboard, way = f"{LOOPBACK}:{port}", tunnel(port, node=node, through=place.login)
    return SchedulerFile(
        address=scheduler.address,
        pid=os.getpid(),
        job=place.job,
        versions=msgspec.to_builtins(own_versions()),
        node=node,
        dashboard=dashboard,
        tunnel=way,
    )


async def _work(place: Place, role: WorkerRole) -> None:
    scratch = make_scratch(role.scratch)

    def clear() -> None:
        shutil.rmtree(scratch, ignore_errors=True)

    _end_with(place.parent, clear)
    _adopt_orphans()
    try:
        scheduler = await _find(place, shard=place.shard)
        if scheduler.versions is None:  # of an hpcflow that refuses nobody
            raise FarmError(refuse_silent(f"worker {role.name}", peer_name="its scheduler"))
        with plain_refusal():
            worker = await _make_worker(scheduler, place, role, scratch=scratch)
        leaving = None if role.ends_at is None else asyncio.ensure_future(_leave(worker, role))
        await worker.finished()
        if leaving is not None:
            leaving.cancel()
    finally:
        clear()


async def _leave(worker: FarmWorker, role: WorkerRole) -> None:
    """Give the unfinished tasks back while there is time for it."""
    assert role.ends_at is not None, "else it stays"
    await asyncio.sleep(max(0.0, role.ends_at - LEAVE_S - time.time()))
    await worker.close(reason="the wall time of its batch job is nearly over")


def _make_worker(
    scheduler: SchedulerFile, place: Place, role: WorkerRole, *, scratch: Path
) -> FarmWorker:
    """Return a worker that does as its scheduler does: with TLS and a dashboard, or without."""
    protocol = scheduler.address.partition("://")[0]
    return FarmWorker(
        scheduler.address,
        name=role.name,
        host=place.host,
        protocol=protocol,
        security=security_for(place.directory.security, insecure=protocol == "tcp"),
        nthreads=1,
        memory_limit=0,
        local_directory=str(scratch),
        dashboard_address=_ANY_PORT if scheduler.dashboard else None,
        resources={SLOTS: len(role.resources)},
        death_timeout=_JOIN_S,
        plugins=(Slots(role.resources, node=role.node, ends_at=role.ends_at),),
    )


def _adopt_orphans() -> None:
    """Become the parent of what runners leave behind, so that it can be found and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def _find(place: Place, *, shard: int) -> SchedulerFile:
    """Wait for the scheduler of a shard: another process starts it."""
    deadline = time.monotonic() + place.patience_s
    while (found := find_scheduler(place.directory, job=place.job, shard=shard)) is None:
        if time.monotonic() > deadline:
            raise FarmError(
                f"cannot join the farm of {str(place.directory.path)!r}: no scheduler has come up"
                f" within {place.patience_s:g} s. Look into the scheduler's log."
            )
        await asyncio.sleep(0.02)
    return found


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
@click.option("--host", default=LOOPBACK)
@click.option("--job")
@click.option("--dashboard", is_flag=True)
@click.option("--insecure", is_flag=True)
@click.pass_context
def main(
    context: click.Context,
    *,
    directory: Path,
    parent: int,
    temporary: bool,
    shard: int,
    workers: int,
    host: str,
    job: str | None,
    dashboard: bool,
    insecure: bool,
) -> None:
    """Run one process of a farm on this machine."""
    context.obj = Place(
        directory=RunDirectory(directory),
        parent=parent,
        temporary=temporary,
        shard=shard,
        workers=workers,
        host=host,
        job=job,
        dashboard=dashboard,
        insecure=insecure,
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
