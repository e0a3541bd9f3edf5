"""A transport on real Dask processes, driven by hand: what it reports is there to be looked at."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed import Client

from hpcflow.core.instruction import Chunk
from hpcflow.core.resources import SlotResources
from hpcflow.core.stimulus import Leave, Return, Task
from hpcflow.errors import FarmError
from hpcflow.farm.cluster import LocalProcesses
from hpcflow.farm.lanes import Lanes
from hpcflow.farm.mail import Request, Worker
from hpcflow.farm.members import Members
from hpcflow.farm.modules import driver_path
from hpcflow.farm.pickling import pickle_call, pickle_function, pickle_input
from hpcflow.farm.tasks import Tasks
from hpcflow.farm.transport import Call, GaveUp, Joined, Report, Transport
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import Setup
from hpcflow.journal.directory import RunDirectory

WITHIN_S = 60.0
"""Longest wait for a report [s]."""


class Bench:
    """A transport, the slots of its workers, and all that it has reported."""

    def __init__(self, name: str, directory: RunDirectory, processes: LocalProcesses) -> None:
        self._all: list[Report] = []
        self._seen = 0
        self.name, self.directory, self.processes = name, directory, processes
        self.clients: list[Client] = processes.connect()
        self._chunks, self._functions = itertools.count(1), itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.transport: Transport = self.do(self._make, name, directory)
        self.members = Members(self.clients, self._hear_of)
        self.members.follow()

    def _make(self, name: str, directory: RunDirectory) -> Transport:
        setup = Setup(
            versions=own_versions(),
            sys_path=driver_path(),
            directory=str(Path.cwd()),
            run_seed=1,
            run_directory=None,
            scratch=str(directory.path),
            ends_at=None,
            logs=None,
        )
        if name == "tasks":
            return Tasks(self._all.append, setup=setup, clients=self.clients)
        return Lanes(self._all.append, setup=setup, connection=self.clients[0].connection_args)

    def _hear_of(self, mail: Request | GaveUp) -> None:
        match mail:
            case Worker(address, up=True, shard=shard):
                self._loop.call_soon_threadsafe(self.transport.add_worker, address, shard)
            case Worker(address):
                self._loop.call_soon_threadsafe(self.transport.remove_worker, address)
            case _:
                raise AssertionError(f"unexpected {mail!r}")

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function on the transport's loop, and return what it returns."""

        async def call() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(WITHIN_S)

    def close(self) -> None:
        """Let go of the workers, whose processes go on."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self.transport.close(), self._loop).result(WITHIN_S)
        for client in self.clients:
            client.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what is asked

    def call(self, function: Callable[[Any], Any], *, limit_s: float | None = None) -> Call:
        """Return what a stage would do with its inputs."""
        return Call(number=next(self._functions), blob=pickle_function(function), limit_s=limit_s)

    def send(self, slot: str, call: Call, inputs: Sequence[Any]) -> int:
        """Hand a chunk to a slot, and return its number."""
        tasks = [
            Task(
                stage="stage",
                key=str(index),
                payload=pickle_input(value, what="it"),
                created=time.time(),
            )
            for index, value in enumerate(inputs)
        ]
        chunk = Chunk(next(self._chunks), "stage", 1, tasks)
        self.do(self.transport.send, slot, chunk, call)
        self.do(self.transport.flush)
        return chunk.number

    def preload(self, name: str, load: Callable[..., Any], *args: Any) -> None:
        self.do(self.transport.preload, name, pickle_call(load, args))

    # -- what is reported

    @property
    def reports(self) -> list[Report]:
        """What has been reported since the test began."""
        return self._all[self._seen :]

    def begin(self, *, slots: int) -> None:
        """Begin a test once so many slots are up: reports from before are no business of it."""
        self.wait_for_slots(slots)
        self._seen = len(self._all)

    def wait(self, done: Callable[[], Any]) -> Any:
        """Wait for a condition on the reports, and return what it is met by."""
        deadline = time.monotonic() + WITHIN_S
        while not (met := done()):
            assert time.monotonic() < deadline, f"it has not come to pass: {self.reports[-5:]}"
            time.sleep(0.01)
        return met

    def wait_for_slots(self, count: int) -> list[str]:
        """Wait until so many slots are up, and return their names."""
        self.wait(lambda: len(self.up) == count)
        return sorted(self.up)

    def wait_for(self, chunk: int, count: int) -> list[Any]:
        """Wait for the values of the first tasks of a chunk, and return all there are."""
        self.wait(lambda: len(self.values(chunk)) >= count)
        return self.values(chunk)

    def wait_for_leave(self, slot: str) -> Leave:
        """Wait until a slot leaves for the first time, and return the report."""
        leave = self.wait(lambda: self.of(slot, Leave))[0]
        assert isinstance(leave, Leave)
        return leave

    @property
    def up(self) -> set[str]:
        """Slots that are up, by what was reported."""
        up: set[str] = set()
        for report in tuple(self._all):
            match report:
                case Joined(info):
                    assert info.name not in up, "it left before it joined again"
                    up.add(info.name)
                case Leave(slot=slot):
                    up.remove(slot)
        return up

    def values(self, chunk: int) -> list[Any]:
        """Return the values that have come of a chunk, in the order in which they came."""
        answers = [each for each in self.reports if isinstance(each, Return)]
        return [value for each in answers if each.chunk == chunk for value in each.values]

    def returns(self, slot: str) -> list[Return]:
        """Return the answers that have come of a slot, in the order in which they came."""
        return [each for each in self.reports if isinstance(each, Return) and each.slot == slot]

    def of(self, slot: str, kind: type[Report]) -> list[Report]:
        """Return the reports of a kind about a slot."""
        return [each for each in self.reports if isinstance(each, kind) and _slot(each) == slot]

    def story(self, slot: str) -> list[str]:
        """Return the kinds of reports about a slot, in their order, repetitions left out."""
        kinds = [type(each).__name__ for each in self.reports if _slot(each) == slot]
        return [kind for kind, _ in itertools.groupby(kinds)]


def _slot(report: Report) -> str | None:
    match report:
        case Joined(info):
            return info.name
        case Return(slot=slot) | Leave(slot=slot) | GaveUp(slot):
            return slot
        case _:
            return None


class _Idle:
    """Nothing to do: the processes need not fit themselves to it."""

    def workload(self) -> None:
        return None

    def release(self, worker: str) -> bool:
        raise FarmError(f"nobody asked to let go of {worker}")


@contextlib.contextmanager
def bench(
    name: str, path: Path, *, slots: int = 1, workers: int = 1, shards: int = 1
) -> Iterator[Bench]:
    """Give a transport of that name, with slots that come up meanwhile."""
    directory = RunDirectory(path / "farm")
    directory.create()
    processes = LocalProcesses(
        directory,
        [SlotResources(cores=()) for _ in range(slots)],
        workers=workers,
        shards=shards,
        keep_logs=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(processes.close)
        made = Bench(name, directory, processes)
        stack.callback(made.close)
        processes.guard(made.members.gone, _Idle())
        yield made


@contextlib.contextmanager
def successor(bench: Bench) -> Iterator[Bench]:
    """Give a transport on the same processes, as the next driver would have."""
    bench.close()
    with contextlib.closing(Bench(bench.name, bench.directory, bench.processes)) as made:
        yield made
