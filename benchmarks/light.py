"""Light workers, many to a process, and a driver that opens the farm they serve.

Real Dask workers under the farm's TLS, each with the farm's plugin, its own connections and its own
place at the scheduler. They are light in that a process holds many of them, and in that their slots
say that they are up without a runner behind them: neither the start of Python and the import of
Dask for each worker, nor the start of runners, nor Dask's monitor of each worker's process is in
what is measured with them.

Run by `benchmarks/launch.py`. Each process says `ready` when all is imported, begins when it is
sent a line, and says when it is done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import click
import dask
import msgspec
from distributed.comm.core import Comm
from distributed.core import Status

from benchmarks.peer import wait_for_the_start
from hpcflow import Farm
from hpcflow.core.resources import SlotResources, share_devices
from hpcflow.farm.lane import Lane, Message
from hpcflow.farm.rendezvous import find_scheduler
from hpcflow.farm.security import load_security
from hpcflow.farm.servers import SLOTS, FarmWorker
from hpcflow.farm.slots import CLIENT_PATIENCE_S, Slots
from hpcflow.farm.tuning import settings
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import Errand, Result, SlotInfo, Work
from hpcflow.journal.directory import RunDirectory

GPUS = 8
"""Slots of each light worker."""
_MONITORS = {"distributed.admin.system-monitor.interval": "60s"}
"""Each worker looks at its process twice a second; hundreds in one would do nothing else."""


class LightSlots(Slots):
    """Slots that are up as soon as a client asks, and run no tasks: they answer after a while."""

    def __init__(self, resources: Sequence[SlotResources], *, node: str, task_s: float) -> None:
        super().__init__(resources, node=node)
        self._task_s = task_s
        self._works = msgspec.msgpack.Decoder(Work)
        self._infos = [
            SlotInfo(
                name=f"{node}.{index}",
                host=node,
                worker=node,
                pid=os.getpid(),
                device=each.device,
                cores=each.cores,
                booted=time.time(),
                preload_s=0.0,
                sharing=each.sharing,
                versions=own_versions(),
                uuid="",
            )
            for index, each in enumerate(resources)
        ]

    async def lane(self, comm: Comm, setup: bytes) -> Status:
        """Say that every slot is up, and keep the lane."""
        lane = await Lane.take_over(comm, patience_s=CLIENT_PATIENCE_S)
        for index, info in enumerate(self._infos):
            lane.send(("slot", index, 1, msgspec.msgpack.encode(info)))
        await lane.run(lambda messages: self._receive(lane, messages))
        return Status.dont_reply

    async def run_chunk(self, errand: Errand, work: bytes) -> bytes:
        """Answer a chunk that is a Dask task."""
        try:
            started = time.time()
            await asyncio.sleep(self._task_s)
            return msgspec.msgpack.encode([self._answer(work, started)])
        finally:
            self._room.leave(errand.key)

    def _receive(self, lane: Lane, messages: list[Message]) -> None:
        """Answer the chunks that came by the lane."""
        for message in messages:
            if message[0] == "chunk":
                loop = asyncio.get_running_loop()
                loop.call_later(self._task_s, self._send_answer, lane, message, time.time())

    def _send_answer(self, lane: Lane, message: Message, began: float) -> None:
        _, slot, life, *_, work = message
        lane.send(("out", slot, life, self._answer(work, began)))

    def _answer(self, work: bytes, started: float) -> bytes:
        """Return what a runner would that has had every task of a chunk."""
        chunk = self._works.decode(work)
        count = len(chunk.inputs or pickle.loads(chunk.values))
        each = (time.time() - started) / count
        return msgspec.msgpack.encode(
            Result(
                chunk=chunk.chunk,
                values=[None] * count,
                laps=array("d", [started + n * each for n in range(count + 1)]).tobytes(),
                wrecks={},
                pickles={},
                payloads={},
            )
        )


@click.group()
def main() -> None:
    """Serve a benchmark."""


@main.command()
@click.option("--run", type=click.Path(path_type=Path), required=True)
@click.option(
    "--numbers", type=(int, int), required=True, help="First, and the one after the last."
)
@click.option("--of", type=int, required=True, help="Workers in all.")
@click.option("--shards", type=int, required=True)
@click.option("--task-s", type=float, default=0.0, help="How long a chunk takes [s].")
def work(run: Path, *, numbers: tuple[int, int], of: int, shards: int, task_s: float) -> None:
    """Be some of the farm's workers."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    dask.config.set(settings(of * GPUS // shards) | _MONITORS)
    asyncio.run(_work(run, range(*numbers), of=of, shards=shards, task_s=task_s))


async def _work(run: Path, numbers: Sequence[int], *, of: int, shards: int, task_s: float) -> None:
    directory = RunDirectory(run)
    security = load_security(directory.security)
    found = [find_scheduler(directory, job=None, shard=k + 1) for k in range(shards)]
    addresses = [each.address for each in found if each is not None]

    async def start(number: int) -> FarmWorker:
        name = f"node{number}"
        resources = share_devices(
            range(GPUS), [str(n) for n in range(GPUS)], variable="V", slots_per_device=1
        )
        worker: FarmWorker = await FarmWorker(
            addresses[number * shards // of],
            name=name,
            host="127.0.0.1",
            protocol="tls",
            security=security,
            nthreads=1,
            memory_limit=0,
            local_directory=str(run.parent / name),
            resources={SLOTS: GPUS},
            plugins=(LightSlots(resources, node=name, task_s=task_s),),
        )
        return worker

    wait_for_the_start()
    _workers = await asyncio.gather(*map(start, numbers))
    print("joined", flush=True)
    await asyncio.Event().wait()


@main.command()
@click.option("--slots", type=int, required=True)
def drive(slots: int) -> None:
    """Open the farm and wait for its slots; keep it until the end of what is sent."""
    wait_for_the_start()
    with Farm() as farm:
        farm.wait_for_slots(slots)
        print("up", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
