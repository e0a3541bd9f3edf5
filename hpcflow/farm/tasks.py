"""Tasks, the other transport: each chunk is an ordinary Dask task, seen in every Dask dashboard.

Dask carries the chunks' bytes there and back, each pinned to its slot's worker. What Dask has no
notion of goes by a lane as ever: slots that come and go, functions, preloads, kills. So word comes
by two ways, and is brought into one order here: what a runner answered is told before its end, and
its end before the next runner's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask
import msgspec
from dask.base import annotate
from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils_comm import gather_from_workers

from hpcflow.core.instruction import Chunk
from hpcflow.core.stimulus import Leave
from hpcflow.farm.answers import returned
from hpcflow.farm.lanes import Lanes, Place, encode_work
from hpcflow.farm.slots import CHUNK, run_chunk
from hpcflow.farm.transport import Call, GaveUp, Joined, Report, Unforeseen
from hpcflow.farm.wire import Errand, Setup, SlotInfo

_PRIORITY = 1
"""Chunks go before plain Dask tasks, which may wait for a thread."""
_ANY_CHUNK = 2**63 - 1
_LARGE = 1 << 20
_SUBMIT_S = 0.01
"""Dask's client sends no more often than this: what comes meanwhile travels together [s]."""
_ENDED = frozenset({"closing", "closed"})
"""A client's states when its scheduler is gone, or the farm is closing."""


@dataclass(slots=True, eq=False)
class _Sent:
    """A chunk that is a Dask task, until its results have been told."""

    slot: str
    address: str
    """Its worker's."""
    errand: Errand
    work: bytes
    future: Future[Any] | None = None
    """Dask's, once it is submitted."""
    reports: list[Report] | None = None
    """What its results come to, once they are here, or cannot come."""


@dataclass(slots=True)
class _Queue:
    """What a slot has to say, in the order in which it is to be told."""

    address: str = ""
    turn: int = 0
    """Chunks sent to the runner that is up."""
    down: bool = True
    """Whether its runner has ended, as far as is known here; that may not be told yet."""
    waiting: deque[_Sent | Report] = field(default_factory=deque)


class Tasks:
    """Chunks as Dask tasks, and one lane to each worker for all else."""

    partial = False

    def __init__(
        self, report: Callable[[Report], None], *, setup: Setup, clients: Sequence[Client]
    ) -> None:
        """Make a transport without workers, on the loop that runs.

        Parameters
        ----------
        report
            Called on the loop with everything that workers say.
        setup
            What every runner must know.
        clients
            A client of each shard's scheduler, in their order.
        """
        self._report = report
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(self._hear, setup=setup, connection=clients[0].connection_args)
        self._session = uuid.uuid4().hex[:8]
        """Keeps the keys apart from those of a farm that has used the same scheduler before."""
        self._preloads = 0
        self._shards: dict[str, int] = {}
        self._queues: dict[str, _Queue] = {}
        self._outbox: dict[int, list[_Sent]] = {}
        """Chunks to submit, by shard."""
        self._submitted = 0.0
        """When that was done last, by the loop's clock."""

    def add_worker(self, address: str, shard: int) -> None:
        """Keep a lane open to the worker at `address`, and use its scheduler."""
        self._shards[address] = shard
        self._lanes.add_worker(address, shard)

    def remove_worker(self, address: str) -> None:
        """End the lane to the worker; with it go its chunks."""
        self._lanes.remove_worker(address)

    def preload(self, name: str, blob: bytes) -> None:
        """Send a preload down every lane, later ones included."""
        self._preloads += 1
        self._lanes.preload(name, blob)

    def kill(self, slot: str, chunk: int) -> None:
        """Ask the worker to end the slot's runner, unless it has ended by itself."""
        if not self._queues[slot].down:
            self._lanes.kill(slot, chunk)

    def recall(self, slot: str, chunk: int) -> None:
        """Nobody asks for this: what has run of a chunk is not known before its end."""
        raise AssertionError(f"chunk {chunk} of slot {slot} is one task")

    def forget(self, function: int) -> None:
        """Tell every worker that has the function to drop it."""
        self._lanes.forget(function)

    def flush(self) -> None:
        """Nothing waits for this: chunks go by Dask, which has its own notion of what waits."""

    async def close(self) -> None:
        """Let go of every chunk and close every lane."""
        for queue in self._queues.values():
            self._drop(queue)
        await self._lanes.close()

    # -- chunks

    def send(self, slot: str, chunk: Chunk, call: Call) -> None:
        """Submit a chunk, together with others that are sent now, as a task for its worker."""
        queue = self._queues[slot]
        place = None if queue.down else self._lanes.prepare(slot, call)
        if place is None:
            return  # word of its end is in the mail, and gives the chunk back
        errand = self._errand(chunk, call, place=place, turn=queue.turn)
        sent = _Sent(slot, place.address, errand, encode_work(chunk, call))
        queue.address = place.address
        queue.turn += 1
        queue.waiting.append(sent)
        if not self._outbox:
            self._loop.call_at(self._submitted + _SUBMIT_S, self._submit)
        self._outbox.setdefault(self._shards[place.address], []).append(sent)

    def _errand(self, chunk: Chunk, call: Call, *, place: Place, turn: int) -> Errand:
        return Errand(
            key=f"{CHUNK}{chunk.number}-{self._session}",
            slot=place.number,
            life=place.life,
            turn=turn,
            preloads=self._preloads,
            chunk=chunk.number,
            function=call.number,
            limit_s=call.limit_s,
        )

    def _submit(self) -> None:
        """Hand what has been sent to Dask: one graph a scheduler, since each costs it the same."""
        self._submitted = self._loop.time()
        outbox, self._outbox = self._outbox, {}
        for shard, sent_to in outbox.items():
            client = self._clients[shard - 1]
            chunks = [sent for sent in sent_to if sent.reports is None]
            if not chunks or client.status in _ENDED:
                continue  # an ended client's workers end as well, or the farm does
            places = {sent.errand.key: sent.address for sent in chunks}
            with _without_warning(chunks), annotate(workers=places.__getitem__):
                futures = client.map(
                    run_chunk,
                    [sent.errand for sent in chunks],
                    [sent.work for sent in chunks],
                    key=list(places),
                    priority=_PRIORITY,
                    pure=False,
                )
            assert client.loop is not None, "the client has been started"
            for sent, future in zip(chunks, futures, strict=True):
                sent.future = future
                client.loop.add_callback(self._fetch, client, sent)

    async def _fetch(self, client: Client, sent: _Sent) -> None:
        """Wait for a chunk's results and get them from its worker. Runs on the client's loop."""
        future = sent.future
        result: object = None
        assert future is not None, "it is submitted"
        try:
            result = await future.exception(asynchronous=True)
            if future.status == "finished":
                at = {future.key: [sent.address]}
                data, *_ = await gather_from_workers(at, rpc=client.rpc)
                result = data.get(future.key)
        except OSError as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the farm's loop has been closed: too late
            self._loop.call_soon_threadsafe(self._back, sent, result)

    def _back(self, sent: _Sent, result: object) -> None:
        """Take in the results of a chunk, unless its slot has been given up meanwhile."""
        if sent.reports is not None:
            return
        results: list[bytes] = []
        match result:
            case bytes():
                results = msgspec.msgpack.decode(result, type=list[bytes])
            case None | OSError() | KilledWorker():
                self._mourn(sent)
            case _:
                self._report(Unforeseen(f"a chunk's Dask task failed: {result!r}"))
        self._end(sent, [returned(sent.slot, each) for each in results])
        self._tell(self._queues[sent.slot])

    def _mourn(self, sent: _Sent) -> None:
        """End the runner of a chunk that Dask has dropped; then the chunk is sent again."""
        if self._clients[self._shards[sent.address] - 1].status not in _ENDED:
            self.kill(sent.slot, _ANY_CHUNK)

    def _end(self, sent: _Sent, reports: list[Report]) -> None:
        sent.reports = reports
        if sent.future is not None:
            sent.future.release()

    def _drop(self, queue: _Queue) -> None:
        """Let go of the chunks of a slot: their results cannot come any more."""
        for sent in queue.waiting:
            if isinstance(sent, _Sent) and sent.reports is None:
                self._end(sent, [])

    # -- what is told

    def _hear(self, report: Report) -> None:
        """Take in what came by a lane."""
        match report:
            case Joined(SlotInfo(name=slot)) | GaveUp(slot):
                queue = self._queues.setdefault(slot, _Queue())
            case Leave(slot=slot):
                queue = self._queues[slot]
                queue.down = True
                if not self._lanes.is_open(queue.address):
                    self._drop(queue)
            case _:
                self._report(report)
                return
        queue.waiting.append(report)
        self._tell(queue)

    def _tell(self, queue: _Queue) -> None:
        """Tell what is complete, up to the first chunk that is still out."""
        while queue.waiting:
            match queue.waiting[0]:
                case _Sent(reports=None):
                    return
                case _Sent(reports=list(reports)):
                    for report in reports:
                        self._report(report)
                case Joined() as report:
                    queue.turn, queue.down = 0, False
                    self._report(report)
                case report:
                    self._report(report)
            queue.waiting.popleft()


def _without_warning(chunks: Sequence[_Sent]) -> contextlib.AbstractContextManager[object]:
    """Keep Dask from advising against large inputs: they are the tasks' own, and each goes once."""
    if sum(len(sent.work) for sent in chunks) < _LARGE:
        return contextlib.nullcontext()
    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"})
