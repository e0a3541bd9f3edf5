"""A farm whose schedulers and workers are steps of the batch job that we are in."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence

from distributed import Client
from distributed.comm.addressing import get_address_host_port

from hpcflow.errors import FarmError
from hpcflow.farm.processes import Gone, Work
from hpcflow.farm.rendezvous import find_scheduler
from hpcflow.farm.security import security_for
from hpcflow.farm.servers import SLOTS, Refusal, read_refusals
from hpcflow.farm.tuning import make_client
from hpcflow.farm.versions import mismatch, own_versions, read_versions
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import SchedulerFile

START_S = 600.0
"""Longest wait for the scheduler of a batch job [s]."""
_LOOK_S = 1.0
_SILENCE_S = 60.0
"""A scheduler that cannot be reached for this long is gone [s]."""


class AllocatedProcesses:
    """Schedulers and workers that the batch script started, and will end."""

    def __init__(
        self,
        directory: RunDirectory,
        *,
        job: str | None,
        shards: int = 1,
        workers: int = 1,
        heed: Callable[[], object] | None = None,
    ) -> None:
        """Look for the farm of a batch job.

        Parameters
        ----------
        directory
            Run directory of the batch script: where the scheduler says that it is there.
        job
            Id of the batch job: another job's scheduler is not ours.
        shards
            Schedulers that share the workers.
        workers
            Workers of each, or an upper bound: time-outs grow with them.
        heed
            Called again and again while a scheduler is waited for; what it raises ends the wait.
        """
        self._directory = directory
        self._job = job
        self._heed = heed
        self._shards = shards
        self._workers = workers
        self._clients: list[Client] = []
        self._addresses: list[str] = []
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None

    def connect(self) -> list[Client]:
        """Return a client of each shard's scheduler, in their order, once all are up.

        Raises
        ------
        FarmError
            If one does not come up, or runs on another installation.
        """
        deadline = time.monotonic() + START_S
        with contextlib.ExitStack() as undo:
            for shard in range(1, self._shards + 1):
                address = self._wait_for_scheduler(shard, deadline=deadline).address
                insecure = address.startswith("tcp:")
                security = security_for(self._directory.security, insecure=insecure)
                client = make_client(address, security, workers=self._workers)
                undo.callback(client.close)
                self._addresses.append(address)
                self._clients.append(client)
            undo.pop_all()
        return self._clients

    def _wait_for_scheduler(self, shard: int, *, deadline: float) -> SchedulerFile:
        while True:
            scheduler = find_scheduler(self._directory, job=self._job, shard=shard)
            if scheduler is not None:
                _check_versions(scheduler)
                return scheduler
            if self._heed is not None:
                self._heed()
            if time.monotonic() > deadline:
                which = "" if self._shards == 1 else f" of shard {shard}"
                raise FarmError(
                    f"cannot join the farm of {str(self._directory.path)!r}: no scheduler{which}"
                    f" has come up within {START_S:g} s. Look into {str(self._directory.logs)!r}."
                )
            time.sleep(0.1)

    def guard(self, gone: Gone, work: Work) -> None:
        """Call `gone`, from a thread, for each scheduler that goes."""
        self._guard = threading.Thread(
            target=self._watch_over, args=(gone,), name="hpcflow-guard", daemon=True
        )
        self._guard.start()

    def _watch_over(self, gone: Gone) -> None:
        seen = dict.fromkeys(range(self._shards), time.monotonic())
        while seen and not self._closing.wait(_LOOK_S):
            for index in list(seen):
                client, address = self._clients[index], self._addresses[index]
                if client.status == "running":
                    seen[index] = time.monotonic()
                elif (
                    client.status == "closed"
                    or time.monotonic() - seen[index] > _SILENCE_S
                    or _nobody_listens(address)
                ):
                    del seen[index]
                    gone(self._hopeless(), index + 1)

    def _hopeless(self) -> FarmError:
        return FarmError(
            "cannot go on: the batch job's scheduler is gone. What came back is recorded; look into"
            f" {str(self._directory.logs)!r}, then resume."
        )

    @property
    def pids(self) -> dict[str, int]:
        """Nothing: the processes are the batch script's."""
        return {}

    def close(self) -> None:
        """Stop watching; the batch script ends the processes."""
        self._closing.set()
        if self._guard is not None:
            self._guard.join()


def _check_versions(scheduler: SchedulerFile) -> None:
    refusal = mismatch(
        read_versions(scheduler.versions),
        own_versions(),
        who="the batch job's scheduler",
        peer_name="this process",
    )
    if refusal is not None:
        raise FarmError(refusal)


def _nobody_listens(address: str) -> bool:
    """Say whether the host is there and refuses: the scheduler's process has ended."""
    try:
        socket.create_connection(get_address_host_port(address), timeout=_LOOK_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def count_joined_slots(clients: Sequence[Client]) -> int:
    """Return how many slots the workers that have joined the schedulers serve."""
    return sum(
        int(worker["resources"].get(SLOTS, 0))
        for client in clients
        if client.status == "running"
        for worker in client.scheduler_info(n_workers=-1)["workers"].values()
    )


def wait_for_workers(
    clients: Sequence[Client],
    *,
    slots: Callable[[], int],
    quorum: float,
    limit_s: float,
    tell: Callable[[str], None],
) -> int:
    """Wait until workers with nearly all slots have joined, and return how many slots they serve.

    Parameters
    ----------
    clients
        A client of each scheduler.
    slots
        Returns how many slots can still come; what it raises ends the wait.
    quorum
        Share of them to wait for (0, 1]; the others may join later.
    limit_s
        Longest wait [s]; with fewer than the quorum by then, those that are there begin.
    tell
        Called with a line whenever the number has changed, and for each worker that is refused.

    Raises
    ------
    FarmError
        If none has joined by the limit, or all were refused.
    """
    deadline = time.monotonic() + limit_s
    joined = -1
    refused: dict[str, Refusal] = {}
    while True:
        possible = slots()
        wanted = math.ceil(quorum * possible)
        asked = time.monotonic()
        before, joined = joined, count_joined_slots(clients)
        if joined != before:
            tell(f"{joined:,} of {possible:,} slots have joined")
        if joined >= wanted:
            return joined
        for refusal in read_refusals(clients):
            if refused.setdefault(refusal.worker, refusal) is refusal:
                tell(refusal.reason)
        never = sum(refusal.slots for refusal in refused.values())
        if joined + never >= wanted or time.monotonic() > deadline:
            break
        # with thousands of workers the answer is long: ask less often than it takes to give
        time.sleep(max(0.2, 4 * (time.monotonic() - asked)))
    if joined:
        why = (
            f"{never:,} were refused" if never else f"{wanted:,} did not join within {limit_s:g} s"
        )
        tell(f"going on with {joined:,} slots: {why}")
        return joined
    if refused:
        first = next(iter(refused.values()))
        raise FarmError(f"cannot start: no worker was taken. {first.reason.removesuffix('.')}")
    raise FarmError(f"cannot start: no worker has joined within {limit_s:g} s")
