"""Lanes, the default transport: a persistent connection from the client to each worker."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from distributed.comm.core import Comm, CommClosedError, connect

from hpcflow.core.instruction import Chunk
from hpcflow.core.numbered import Numbered, keys_of
from hpcflow.core.stimulus import Leave
from hpcflow.farm.answers import left, returned
from hpcflow.farm.lane import Lane, Message
from hpcflow.farm.memory import keep_freed_memory
from hpcflow.farm.slots import HANDLER
from hpcflow.farm.transport import Call, GaveUp, Joined, Report, Unforeseen
from hpcflow.farm.versions import mismatch, own_versions
from hpcflow.farm.wire import Death, Greeting, Setup, SlotInfo, Work

WORKER_PATIENCE_S = 20.0
"""A worker does nothing that could hold it up: silence this long means that it is gone [s]."""
OPENING = 64
"""Lanes that are opened at a time: with all at once, none is open before nearly all are."""
_LONGEST_BACKOFF_S = 5.0
_LAST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a slot is now."""

    address: str
    """Its worker's."""
    number: int
    """Its number on the worker."""
    life: int
    """Its runner's."""


class Lanes:
    """One lane to each worker."""

    partial = True

    def __init__(
        self, report: Callable[[Report], None], *, setup: Setup, connection: dict[str, Any]
    ) -> None:
        """Make a transport without workers.

        Parameters
        ----------
        report
            Called on the loop with everything that workers say.
        setup
            What every runner must know.
        connection
            Dask's connection arguments: its TLS context.
        """
        keep_freed_memory()
        self._report = report
        self._setup = setup
        self._connection = connection
        self._opening = asyncio.Semaphore(OPENING)
        self._preloads: list[tuple[str, bytes]] = []
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """Those of the workers, and of workers removed whose lanes are not closed yet."""
        self._abandoned: set[asyncio.Task[Comm]] = set()
        """Connections that nobody waits for any more; each is closed, or given up before long."""
        self._lanes: dict[str, _WorkerLane] = {}
        self._slots: dict[str, _WorkerLane] = {}
        self._loaded: set[_WorkerLane] = set()
        """Those that have chunks to send."""

    def add_worker(self, address: str, shard: int) -> None:
        """Keep a lane open to the worker at `address` until it is removed."""
        if address not in self._workers:
            task = self._workers[address] = asyncio.ensure_future(self._keep(address))
            self._tasks.add(task)
            task.add_done_callback(self._kept)

    def _kept(self, task: asyncio.Task[None]) -> None:
        """Report an end that nobody foresaw, instead of leaving the driver to wait."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._report(Unforeseen(f"a lane failed: {error!r}"))

    def remove_worker(self, address: str) -> None:
        """End the lane to the worker."""
        task = self._workers.pop(address, None)
        if task is not None:
            task.cancel()

    def preload(self, name: str, blob: bytes) -> None:
        """Send a preload down every lane, later ones included."""
        self._preloads.append((name, blob))
        for lane in self._lanes.values():
            lane.preload(name, blob)

    def send(self, slot: str, chunk: Chunk, call: Call) -> None:
        """Send a chunk down its slot's lane.

        A slot that has just gone is passed over: word of it is in the mail, and gives the chunk
        back.
        """
        lane = self._slots.get(slot)
        if lane is not None:
            lane.send(slot, chunk, call)
            self._loaded.add(lane)

    def flush(self) -> None:
        """Let go the chunks that have been sent."""
        for lane in self._loaded:
            lane.lane.flush()
        self._loaded.clear()

    def prepare(self, slot: str, call: Call) -> Place | None:
        """Make sure that a slot's worker gets the function; return where the slot is.

        None stands for a slot that has just gone, as in `send`.
        """
        return self._slots[slot].prepare(slot, call) if slot in self._slots else None

    def is_open(self, address: str) -> bool:
        """Return whether there is a lane to the worker at `address` now."""
        return address in self._lanes

    def kill(self, slot: str, chunk: int) -> None:
        """Ask the worker to end the slot's runner."""
        if slot in self._slots:
            self._slots[slot].kill(slot, chunk)

    def recall(self, slot: str, chunk: int) -> None:
        """Ask the worker to let the slot start nothing more of its chunks up to this one."""
        if slot in self._slots:
            self._slots[slot].recall(slot, chunk)

    def forget(self, function: int) -> None:
        """Tell every worker that has the function to drop it."""
        for lane in self._lanes.values():
            lane.forget(function)

    async def close(self) -> None:
        """Close every lane."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._abandoned, return_exceptions=True)

    async def _keep(self, address: str) -> None:
        backoff_s = 0.05
        while True:
            with contextlib.suppress(OSError, CommClosedError):
                await self._use(address)
                backoff_s = 0.05
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _use(self, address: str) -> None:
        async with self._opening:
            comm = await self._connect(address)
            await comm.write(
                {"op": HANDLER, "setup": msgspec.msgpack.encode(self._setup), "reply": False}
            )
            taken = await Lane.take_over(comm, patience_s=WORKER_PATIENCE_S)
        lane = _WorkerLane(address, taken, self._arrived)
        self._lanes[address] = lane
        for name, blob in self._preloads:
            lane.preload(name, blob)
        reason = "the client let go of it"
        try:
            reason = await lane.lane.run(lane.receive)
        finally:
            del self._lanes[address]
            slots, why, now = lane.slots(), f"worker {address}: {reason}", time.time()
            for slot in slots:
                del self._slots[slot]
                self._report(Leave(slot=slot, reason=why, at=now, more=slot != slots[-1]))

    async def _connect(self, address: str) -> Comm:
        """Connect; when cancelled meanwhile, leave no half-open connection behind."""
        connecting = asyncio.ensure_future(connect(address, **self._connection))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            self._abandoned.add(connecting)
            connecting.add_done_callback(self._hang_up)
            asyncio.get_running_loop().call_later(_LAST_WAIT_S, connecting.cancel)
            raise

    def _hang_up(self, connecting: asyncio.Task[Comm]) -> None:
        self._abandoned.discard(connecting)
        if not connecting.cancelled() and connecting.exception() is None:
            connecting.result().abort()

    def _arrived(self, lane: _WorkerLane, report: Report) -> None:
        match report:
            case Joined(info):
                self._slots[info.name] = lane
            case Leave():
                self._slots.pop(report.slot, None)
            case GaveUp(slot):
                self._slots.pop(slot, None)
        self._report(report)


class _WorkerLane:
    """The client's end of one lane."""

    def __init__(
        self, address: str, lane: Lane, report: Callable[[_WorkerLane, Report], None]
    ) -> None:
        self.address = address
        self.lane = lane
        self._report = report
        self._names: dict[int, str] = {}
        """Slots that are up, by their number on the worker."""
        self._places: dict[str, tuple[int, int]] = {}
        """Number and life of each slot that is up."""
        self._functions: set[int] = set()

    def slots(self) -> list[str]:
        return list(self._places)

    def preload(self, name: str, blob: bytes) -> None:
        self.lane.send(("preload", name, blob))

    def send(self, slot: str, chunk: Chunk, call: Call) -> None:
        self._introduce(call)
        number, life = self._places[slot]
        work = encode_work(chunk, call)
        self.lane.put(("chunk", number, life, chunk.number, call.limit_s, call.number, work))

    def _introduce(self, call: Call) -> None:
        if call.number not in self._functions:
            self._functions.add(call.number)
            self.lane.send(("function", call.number, call.blob))

    def prepare(self, slot: str, call: Call) -> Place:
        self._introduce(call)
        number, life = self._places[slot]
        return Place(address=self.address, number=number, life=life)

    def kill(self, slot: str, chunk: int) -> None:
        number, life = self._places[slot]
        self.lane.send(("kill", number, life, chunk))

    def recall(self, slot: str, chunk: int) -> None:
        number, life = self._places[slot]
        self.lane.send(("recall", number, life, chunk))

    def forget(self, function: int) -> None:
        if function in self._functions:
            self._functions.remove(function)
            self.lane.send(("forget", function))

    # -- what the worker says

    def receive(self, messages: list[Message]) -> None:
        for message in messages:
            if message[0] == "out":  # nearly all of them: what a match would look at is not cheap
                _, number, life, blob = message
                slot = self._names.get(number)
                if slot is not None and self._places[slot][1] == life:
                    self._report(self, returned(slot, blob))
            else:
                self._hear(message)

    def _hear(self, message: Message) -> None:
        match message:
            case ("slot", int(number), int(life), bytes(body)):
                self._join(number, life, body)
            case ("down", int(number), int(), bytes(body)):
                death = msgspec.msgpack.decode(body, type=Death)
                self._report(self, left(self._forget(number), death))
            case ("dead", int(number), str(name), str(reason)):
                if number in self._names:
                    self._forget(number)
                    self._report(self, Leave(slot=name, reason=reason, at=time.time()))
                self._report(self, GaveUp(name, reason))
            case _:
                raise AssertionError(f"unknown message {message[:1]!r}")

    def _join(self, number: int, life: int, body: bytes) -> None:
        """Take a slot, unless its worker is of another installation and did not say so."""
        greeting = msgspec.msgpack.decode(body, type=Greeting)
        refusal = mismatch(
            greeting.versions, own_versions(), who=f"slot {greeting.name}", peer_name="the driver"
        )
        if refusal is not None:
            self._report(self, GaveUp(greeting.name, refusal))
            return
        info = msgspec.msgpack.decode(body, type=SlotInfo)
        self._names[number] = info.name
        self._places[info.name] = (number, life)
        self._report(self, Joined(info))

    def _forget(self, number: int) -> str:
        slot = self._names.pop(number)
        del self._places[slot]
        return slot


def encode_work(chunk: Chunk, call: Call) -> bytes:
    """Return a chunk as its runner gets it."""
    tasks = chunk.tasks
    keys: list[str] | None = None
    inputs: list[bytes] = []
    first, values = 0, b""
    if isinstance(tasks, Numbered):
        first, values = tasks.first, pickle.dumps(tasks.values, 5)
    else:
        keys = keys_of(tasks)
        inputs = [task.payload for task in tasks]
        if not any(inputs):
            values, inputs = pickle.dumps([task.number for task in tasks], 5), []
        elif not all(inputs):
            inputs = [task.payload or pickle.dumps(task.number, 5) for task in tasks]
    return msgspec.msgpack.encode(
        Work(
            chunk=chunk.number,
            stage=chunk.stage,
            function=call.number,
            attempt=chunk.attempt,
            limit_s=call.limit_s,
            keys=msgspec.Raw(msgspec.msgpack.encode(keys)),
            first=first,
            values=values,
            inputs=inputs,
        )
    )
