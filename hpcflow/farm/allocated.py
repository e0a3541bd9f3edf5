"""A farm whose scheduler and workers are steps of the batch job that we are in."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable

import dask
from distributed import Client
from distributed.comm.addressing import get_address_host_port

from hpcflow.errors import FarmError
from hpcflow.farm.process import SLOTS
from hpcflow.farm.rendezvous import scheduler_address
from hpcflow.farm.security import load_security
from hpcflow.farm.tuning import DASK_SETTINGS
from hpcflow.journal.directory import RunDirectory

START_S = 600.0
"""Longest wait for the scheduler of a batch job [s]."""
_LOOK_S = 1.0
_SILENCE_S = 60.0
"""A scheduler that cannot be reached for this long is gone [s]."""


class AllocatedProcesses:
    """Scheduler and workers that the batch script started, and will end."""

    def __init__(self, directory: RunDirectory, *, job: str | None) -> None:
        """Look for the farm of a batch job.

        Parameters
        ----------
        directory
            Run directory of the batch script: where the scheduler says that it is there.
        job
            Id of the batch job: another job's scheduler is not ours.
        """
        self._directory = directory
        self._job = job
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None

    def connect(self) -> Client:
        """Return a client of the scheduler, once that is up.

        Raises
        ------
        FarmError
            If it does not come up.
        """
        deadline = time.monotonic() + START_S
        while (address := scheduler_address(self._directory, job=self._job)) is None:
            if time.monotonic() > deadline:
                raise FarmError(
                    f"cannot join the farm of {str(self._directory.path)!r}: no scheduler has come"
                    f" up within {START_S:g} s. Look into {str(self._directory.logs)!r}."
                )
            time.sleep(0.1)
        dask.config.set(DASK_SETTINGS)
        security = load_security(self._directory.security)
        self._address = address
        self._client = Client(address, security=security, set_as_default=False)
        return self._client

    def guard(self, broken: Callable[[FarmError], None]) -> None:
        """Call `broken` from a thread if the scheduler goes."""
        self._guard = threading.Thread(
            target=self._watch_over, args=(broken,), name="hpcflow-guard", daemon=True
        )
        self._guard.start()

    def _watch_over(self, broken: Callable[[FarmError], None]) -> None:
        seen = time.monotonic()
        while not self._closing.wait(_LOOK_S):
            if self._client.status == "running":
                seen = time.monotonic()
            elif (
                self._client.status == "closed"
                or time.monotonic() - seen > _SILENCE_S
                or _nobody_listens(self._address)
            ):
                return broken(
                    FarmError(
                        "cannot go on: the batch job's scheduler is gone. What came back is"
                        f" recorded; look into {str(self._directory.logs)!r}, then resume."
                    )
                )
        return None

    @property
    def pids(self) -> dict[str, int]:
        """Nothing: the processes are the batch script's."""
        return {}

    def close(self) -> None:
        """Stop watching; the batch script ends the processes."""
        self._closing.set()
        if self._guard is not None:
            self._guard.join()


def _nobody_listens(address: str) -> bool:
    """Say whether the host is there and refuses: the scheduler's process has ended."""
    try:
        socket.create_connection(get_address_host_port(address), timeout=_LOOK_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def count_joined_slots(client: Client) -> int:
    """Return how many slots the workers that have joined the scheduler serve."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(int(worker["resources"].get(SLOTS, 0)) for worker in workers)


def wait_for_workers(
    client: Client, *, slots: int, quorum: float, limit_s: float, tell: Callable[[str], None]
) -> int:
    """Wait until workers with nearly all slots have joined, and return how many slots they serve.

    Parameters
    ----------
    client
        A client of the scheduler.
    slots
        Slots asked for.
    quorum
        Share of them to wait for (0, 1]; the others may join later.
    limit_s
        Longest wait [s]; with fewer than the quorum by then, those that are there begin.
    tell
        Called with a line whenever the number has changed.

    Raises
    ------
    FarmError
        If none has joined by the limit.
    """
    wanted = math.ceil(quorum * slots)
    deadline = time.monotonic() + limit_s
    joined = -1
    while True:
        before, joined = joined, count_joined_slots(client)
        if joined != before:
            tell(f"{joined:,} of {slots:,} slots have joined")
        if joined >= wanted:
            return joined
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if joined:
        tell(f"going on with {joined:,} slots: {wanted:,} did not join within {limit_s:g} s")
        return joined
    raise FarmError(f"cannot start: no worker has joined within {limit_s:g} s")
