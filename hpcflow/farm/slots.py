"""The worker plugin: slots on a Dask worker, and the worker's end of the lane.

The worker owns the slots' processes and relays bytes; it opens nothing of the user's. It serves
one client at a time. When the lane ends, the runners end with it: their tasks are the business of
the client that comes next.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from distributed import WorkerPlugin, get_worker
from distributed.comm.core import Comm
from distributed.core import Status

from hpcflow.core.resources import SlotResources
from hpcflow.farm.child import Child, Said
from hpcflow.farm.errands import NOTHING, Errands, Room
from hpcflow.farm.lane import Lane, Message
from hpcflow.farm.memory import keep_freed_memory
from hpcflow.farm.modules import find_modules
from hpcflow.farm.versions import mismatch, own_versions
from hpcflow.farm.wire import Down, Errand, Greeting, Setup, SlotInfo, Up

if TYPE_CHECKING:
    from distributed import Worker

HANDLER = "hpcflow_lane"
"""The operation under which a worker offers its lane."""
PLUGIN = "hpcflow-slots"
"""The name under which Dask keeps the slots of a worker."""
CHUNK = "chunk-"
"""What the keys of chunks begin with that are Dask tasks: they make up one task prefix."""
CLIENT_PATIENCE_S = 300.0
"""A client may be held up this long (by its file system, say) before its tasks are ended [s]."""
_MOST_STILLBORN = 5
_LAST = int(Up.LAST)
_ANSWERS = (_LAST, int(Up.RESULT))


class Slots(WorkerPlugin):
    """Serves slots on the worker that it is given to."""

    name = PLUGIN

    def __init__(
        self, resources: Sequence[SlotResources], *, node: str, ends_at: float | None = None
    ) -> None:
        """Take the slots' resources, and the name of the node they are on.

        Parameters
        ----------
        resources
            What each slot is pinned to.
        node
            Name of their node.
        ends_at
            When the worker's own wall time is over [s since the epoch]; what the client says of
            the farm's if None.
        """
        self._resources = resources
        self._node = node
        self._ends_at = ends_at
        self._session: _Session | None = None
        self._lives = itertools.count(1)

    async def setup(self, worker: Worker) -> None:
        """Offer the lane. Runners start once a client opens it."""
        keep_freed_memory()
        self._worker = worker
        self._room = Room(worker.state)
        worker.handlers[HANDLER] = self.lane

    async def teardown(self, worker: Worker) -> None:
        """End the lane and the runners."""
        await self._replace(None)

    async def lane(self, comm: Comm, setup: bytes) -> Status:
        """Serve one client until its lane ends, or tell one of another installation why not."""
        name, driver = str(self._worker.name), msgspec.msgpack.decode(setup, type=Greeting)
        refusal = mismatch(
            own_versions(), driver.versions, who=f"worker {name}", peer_name="the driver"
        )
        if refusal is not None:
            lane = await Lane.take_over(comm, patience_s=CLIENT_PATIENCE_S)
            for index in range(len(self._resources)):
                lane.send(("dead", index, f"{name}.{index}", refusal))
            await lane.run(lambda _: None)
            return Status.dont_reply
        facts = msgspec.msgpack.decode(setup, type=Setup)
        if self._ends_at is not None:
            facts = msgspec.structs.replace(facts, ends_at=self._ends_at)
        find_modules(facts.sys_path)
        session = _Session(
            await Lane.take_over(comm, patience_s=CLIENT_PATIENCE_S),
            facts,
            name=name,
            node=self._node,
            resources=self._resources,
            lives=self._lives,
        )
        await self._replace(session)
        await session.run()
        return Status.dont_reply

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Make room for chunks that are Dask tasks, so that they take up no thread of others."""
        if isinstance(key, str) and key.startswith(CHUNK):
            self._room.follow(key, finish)

    async def run_chunk(self, errand: Errand, work: bytes) -> bytes:
        """Return a chunk's results, as many as there are when it ends or its runner does."""
        try:
            if self._session is None:
                return NOTHING
            return await self._session.run_chunk(errand, work)
        finally:
            self._room.leave(errand.key)

    async def _replace(self, session: _Session | None) -> None:
        before, self._session = self._session, session
        if before is not None:
            await before.close()


async def run_chunk(errand: Errand, work: bytes) -> bytes:
    """Be the Dask task of a chunk, on its slot's worker: hand it over and wait for its results."""
    slots = get_worker().plugins[PLUGIN]
    assert isinstance(slots, Slots), "only a farm's workers get chunks"
    return await slots.run_chunk(errand, work)


class _Session:
    """One client's use of the worker's slots."""

    def __init__(
        self,
        lane: Lane,
        setup: Setup,
        *,
        name: str,
        node: str,
        resources: Sequence[SlotResources],
        lives: Iterator[int],
    ) -> None:
        self.lane = lane
        self.setup = setup
        self.name = name
        self.node = node
        self.lives = lives
        self.shared_by = max(1, sum(r.cores == resources[0].cores for r in resources))
        self.preloads: list[tuple[str, bytes]] = []
        self.functions: dict[int, bytes] = {}
        self._slots = [_Slot(self, index, each) for index, each in enumerate(resources)]
        self._ended = asyncio.Event()

    async def run(self) -> None:
        serving = [asyncio.ensure_future(slot.serve()) for slot in self._slots]
        for slot, task in zip(self._slots, serving, strict=True):
            task.add_done_callback(slot.ended)
        try:
            await self.lane.run(self._receive)
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            self._ended.set()

    async def close(self) -> None:
        self.lane.close()
        await self._ended.wait()

    async def run_chunk(self, errand: Errand, work: bytes) -> bytes:
        return await self._slots[errand.slot].run_errand(errand, work)

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            if message[0] == "chunk":  # nearly all of them: what a match would look at is not cheap
                _, slot, life, chunk, limit_s, function, blob = message
                if limit_s is not None:
                    self._slots[slot].limit(life, chunk, limit_s)
                self._slots[slot].run_chunk(life, blob, function=function)
            else:
                self._obey(message)

    def _obey(self, message: Message) -> None:
        match message:
            case ("function", int(number), bytes(blob)):
                self.functions[number] = blob
                self._go_on()
            case ("preload", str(name), bytes(blob)):
                self.preloads.append((name, blob))
                for each in self._slots:
                    each.preload(name, blob)
                self._go_on()
            case ("forget", int(number)):
                self.functions.pop(number, None)
                for each in self._slots:
                    each.forget(number)
            case ("recall", int(slot), int(life), int(chunk)):
                self._slots[slot].recall(life, chunk)
            case ("kill", int(slot), int(life), int(chunk)):
                self._slots[slot].cancel(life, chunk)
            case _:
                raise AssertionError(f"unknown message {message[:1]!r}")

    def _go_on(self) -> None:
        """Run the chunks that have come before what they need: Dask tasks have another way."""
        for each in self._slots:
            each.errands.go_on()


class _Slot:
    """One slot through the lives of its runners."""

    def __init__(self, session: _Session, index: int, resources: SlotResources) -> None:
        self._session = session
        self._index = index
        self._resources = resources
        self._name = f"{session.name}.{index}"
        self._life = 0
        self._child: Child | None = None
        self._up = False
        self._awaited = 0
        """Answers that are still to come before the slot is up: to its setup and its preloads."""
        self._preload_s = 0.0
        self._refusal: str | None = None
        """Why the runner will not do."""
        self._known: set[int] = set()
        self._reason = ""
        self._was_up = False
        self.errands = Errands(self._begin)

    async def serve(self) -> None:
        """Keep a runner running, and say so, until cancelled or until it will not come up."""
        stillborn = 0
        while True:
            refusal = await self._live()
            stillborn = 0 if self._was_up else stillborn + 1
            if refusal is None and stillborn > _MOST_STILLBORN:
                refusal = f"its runner ended {stillborn} times before it was ready: {self._reason}"
            if refusal is not None:
                self._send("dead", self._name, refusal)
                return

    def ended(self, serving: asyncio.Task[None]) -> None:
        """Tell the client of an end that nobody foresaw, instead of leaving it to wait."""
        error = None if serving.cancelled() else serving.exception()
        if error is not None:
            self._send("dead", self._name, f"its worker failed: {error!r}")

    async def _live(self) -> str | None:
        """Run one runner to its end. Return why the slot should be given up, if it should."""
        self._life = next(self._session.lives)
        self._known = set()
        self._was_up = False
        try:
            child = Child(self._name, self._resources, self._log(), slots=self._session.shared_by)
        except OSError as error:
            return f"its runner cannot be started: {error}"
        watch = asyncio.ensure_future(child.watch())
        try:
            self._set_up(child)
            await child.listen(lambda said: self._relay(child, said))
        except BaseException:
            child.kill()
            await asyncio.shield(child.bury())
            raise
        finally:
            watch.cancel()
            self._child = None
            self.errands.end()
        if self._refusal is not None:
            child.kill()
        death = await asyncio.shield(child.bury())
        self._reason = death.reason
        if self._was_up and self._refusal is None:
            self._send("down", self._life, msgspec.msgpack.encode(death))
        self._up = False
        return self._refusal

    def _set_up(self, child: Child) -> None:
        """Send the runner what it must have before it can run anything."""
        self._refusal = None
        self._awaited, self._preload_s = 1 + len(self._session.preloads), 0.0
        child.send(Down.SETUP, msgspec.msgpack.encode(self._session.setup))
        for name, blob in self._session.preloads:
            child.send(Down.PRELOAD, pickle.dumps((name, blob)))
        self._child = child

    def _log(self) -> Path | None:
        logs = self._session.setup.logs
        return None if logs is None else Path(logs) / f"{self._name}.log"

    def _relay(self, child: Child, said: list[Said]) -> None:
        """Pass on what the runner says, in one frame; after a refusal it is not heard any more."""
        lane = self._session.lane
        for kind, body in said:
            if kind in _ANSWERS:
                if not self.errands.answer(body, last=kind == _LAST):
                    lane.put(("out", self._index, self._life, body))
            elif kind == Up.REFUSED:
                self._refusal = str(body, "utf-8", "replace")
                child.hang_up()
                break
            else:
                self._note(child, kind, body)
        lane.flush()

    def _note(self, child: Child, kind: int, body: memoryview) -> None:
        """Take note that the runner is done with its setup or with a preload."""
        if kind == Up.LOADED:
            self._preload_s += msgspec.msgpack.decode(body, type=float)
        self._awaited -= 1
        if self._awaited == 0:
            self._join(child)

    def _join(self, child: Child) -> None:
        self._up = self._was_up = True
        info = SlotInfo(
            name=self._name,
            host=self._session.node,
            worker=self._session.name,
            pid=child.pid,
            device=self._resources.device,
            cores=self._resources.cores,
            booted=child.booted,
            preload_s=self._preload_s,
            sharing=self._resources.sharing,
            uuid=self._resources.uuid,
            versions=own_versions(),
        )
        self._send("slot", self._life, msgspec.msgpack.encode(info))

    def _send(self, kind: str, *rest: Any) -> None:
        self._session.lane.send((kind, self._index, *rest))

    # -- what the client asks

    def preload(self, name: str, blob: bytes) -> None:
        """Load a further object in the runner that is up; later ones get it at their start."""
        if self._child is not None:
            self._child.send(Down.PRELOAD, pickle.dumps((name, blob)))

    def forget(self, function: int) -> None:
        """Drop a function whose stage is over."""
        if function in self._known and self._child is not None:
            self._known.remove(function)
            self._child.send(Down.FORGET, str(function).encode())

    def limit(self, life: int, chunk: int, limit_s: float) -> None:
        """Limit the duration of each task of a chunk that is about to come [s]."""
        if life == self._life and self._child is not None:
            self._child.limit(chunk, limit_s)

    def run_chunk(self, life: int, blob: bytes, *, function: int) -> None:
        """Hand a chunk to the runner, unless it was meant for an earlier one."""
        child = self._child
        if life != self._life or child is None or not self._up:
            return
        if function not in self._known:
            self._known.add(function)
            child.send(Down.FUNCTION, pickle.dumps((function, self._session.functions[function])))
        child.send(Down.CHUNK, blob)

    async def run_errand(self, errand: Errand, work: bytes) -> bytes:
        """Return the results of a chunk that is a Dask task; none if it was for another runner."""
        if errand.life != self._life or self._child is None:
            return NOTHING
        return await self.errands.take(errand, work)

    def _begin(self, errand: Errand, work: bytes) -> bool:
        """Hand an errand's chunk to the runner, if all that it needs is there."""
        session = self._session
        if errand.function not in session.functions or errand.preloads > len(session.preloads):
            return False
        if errand.limit_s is not None:
            self.limit(errand.life, errand.chunk, errand.limit_s)
        self.run_chunk(errand.life, work, function=errand.function)
        return True

    def recall(self, life: int, chunk: int) -> None:
        """Let the runner start nothing more of its chunks up to this one."""
        if life == self._life and self._child is not None:
            self._child.progress.recall(chunk)

    def cancel(self, life: int, chunk: int) -> None:
        """End the runner if it still has the chunk."""
        if life == self._life and self._child is not None:
            self._child.cancel(chunk)
