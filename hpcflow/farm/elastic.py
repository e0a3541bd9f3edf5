"""A farm whose workers are batch jobs of their own, as many as there is work for.

The scheduler is a process of the driver's, as in a farm on this machine, so it ends with the driver
however that ends; then the workers end by themselves, and a job that was still in the queue ends
as soon as it starts, since it does not find the farm. A thread looks at what waits and at the
jobs, and does what `core.elastic` decides.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from distributed import Client

from hpcflow.core.elastic import Bounds, Elastic, Ended, GiveUp, Order, Retire, Start, Stays, Tick
from hpcflow.errors import BatchSystemError, FarmError
from hpcflow.farm.cluster import LocalProcesses
from hpcflow.farm.jobqueue import WorkerJobs, WorkerOrder
from hpcflow.farm.mail import Workload
from hpcflow.farm.processes import Gone, Work
from hpcflow.journal.directory import RunDirectory

_TICK_S = 0.5
_FIRST_LOOK_S = 1.0
_LONGEST_LOOK_S = 30.0
"""Between two questions to the batch system: it is asked less often while nothing changes [s]."""
_END_OF_LOG = 2000


class ElasticProcesses:
    """The scheduler of an elastic farm, and its workers' batch jobs."""

    def __init__(
        self,
        directory: RunDirectory,
        jobs: WorkerJobs,
        *,
        order: WorkerOrder,
        bounds: Bounds,
        host: str,
        keep_logs: bool,
    ) -> None:
        """Start the scheduler. Workers come once `guard` is called.

        Parameters
        ----------
        directory
            For certificates, the scheduler's address, scripts and logs.
        jobs
            Where workers come from.
        order
            What their jobs have in common.
        bounds
            How many there may be.
        host
            Address of this host, by which the workers' nodes reach it.
        keep_logs
            Whether the farm keeps a run.

        Raises
        ------
        FarmError
            If the scheduler cannot be started.
        """
        self._order = order
        self._jobs = _Jobs(jobs, order)
        self._elastic = Elastic(bounds)
        self._log = directory.logs / "elastic.log"
        self._closing = threading.Event()
        self._fitter: threading.Thread | None = None
        self._own = LocalProcesses(
            directory,
            [],
            workers=0,
            shards=1,
            keep_logs=keep_logs,
            host=host,
            job=order.farm,
            expected=bounds.maximum,
        )

    def connect(self) -> list[Client]:
        """Return a client of the scheduler, once that is up.

        Raises
        ------
        FarmError
            If it does not come up.
        """
        return self._own.connect()

    def guard(self, gone: Gone, work: Work) -> None:
        """Fit the workers to the work from now on.

        Parameters
        ----------
        gone
            Called if the scheduler dies, or if no worker can be had.
        work
            What there is to do.
        """
        self._own.guard(gone, work)
        self._fitter = threading.Thread(
            target=self._fit, args=(gone, work), name="hpcflow-elastic", daemon=True
        )
        self._fitter.start()

    @property
    def pids(self) -> dict[str, int]:
        """Process id of the scheduler; workers are elsewhere."""
        return self._own.pids

    def close(self) -> None:
        """End the workers' jobs, those in the queue included, and the scheduler."""
        self._closing.set()
        if self._fitter is not None:
            self._fitter.join()
        try:
            self._jobs.cancel_all()
        except BatchSystemError as error:
            self._note(f"{error} The jobs end by themselves: their farm is gone.")
        finally:
            self._own.close()

    # -- on the thread

    def _fit(self, gone: Gone, work: Work) -> None:
        while not self._closing.wait(_TICK_S):
            workload = work.workload()
            if workload is None:
                continue
            try:
                self._follow(workload, work)
            except FarmError as error:
                return gone(error, None)
        return None

    def _follow(self, workload: Workload, work: Work) -> None:
        now = time.monotonic()
        orders: list[Order] = []
        for worker, why in self._over(workload):
            self._note(f"worker {worker}: {why}")
            orders += self._elastic.handle(Ended(worker, now, why))
        orders += self._elastic.handle(Tick(now, workload.demand, workload.workers))
        for order in orders:
            self._obey(order, work)

    def _over(self, workload: Workload) -> Iterator[tuple[str, str]]:
        try:
            yield from self._jobs.over(workload)
        except BatchSystemError as error:
            self._note(str(error))

    def _obey(self, order: Order, work: Work) -> None:
        match order:
            case Start(worker):
                self._start(worker, work)
            case Retire(worker):
                if work.release(worker):
                    self._note(f"worker {worker}: it is not needed")
                    self._jobs.cancel(worker)
                else:
                    self._elastic.handle(Stays(worker))
            case GiveUp(failures, why):
                raise FarmError(
                    f"cannot go on: {failures} worker jobs in a row have failed on"
                    f" {self._order.machine.name}. Of the last: {why}\nWhat came back is recorded;"
                    " mend the cause, then resume."
                )
            case _:
                assert_never(order)

    def _start(self, worker: str, work: Work) -> None:
        try:
            job = self._jobs.submit(worker)
        except OSError as error:  # of the batch system, or of the script's and the log's files
            self._note(f"worker {worker}: {error}")
            for order in self._elastic.handle(Ended(worker, time.monotonic(), str(error))):
                self._obey(order, work)
        else:
            self._note(f"worker {worker}: job {job}")

    def _note(self, text: str) -> None:
        """Write a line into the farm's log, for those who wonder what it did."""
        with contextlib.suppress(OSError):  # a log that cannot be written stops nothing
            fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(fd, "a") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


class _Jobs:
    """The job of each worker, and the questions that the batch system is asked about them.

    A worker of which a slot takes tasks is there. The others are asked after, all in one question.
    """

    def __init__(self, jobs: WorkerJobs, order: WorkerOrder) -> None:
        self._jobs = jobs
        self._order = order
        self._ids: dict[str, str] = {}
        self._submitted: dict[str, float] = {}
        self._seen: set[str] = set()
        """Workers whose jobs the batch system has listed."""
        self._cancelled: set[str] = set()
        self._log_began: dict[str, int] = {}
        """Size of a worker's log before its job [bytes]."""
        self._in_doubt: frozenset[str] = frozenset()
        self._look_at = 0.0
        self._look_s = _FIRST_LOOK_S

    def submit(self, worker: str) -> str:
        """Submit the job of a worker, and return its id."""
        log = self._order.log(worker)
        self._log_began[worker] = log.stat().st_size if log.exists() else 0
        job = self._ids[worker] = self._jobs.submit(worker)
        self._submitted[worker] = time.monotonic()
        return job

    def cancel(self, worker: str) -> None:
        """End the job of a worker; if the batch system is busy now, when it is asked next."""
        self._cancelled.add(worker)
        with contextlib.suppress(BatchSystemError):
            self._jobs.cancel([self._ids[worker]])

    def cancel_all(self) -> None:
        """End every job."""
        if self._ids:
            self._jobs.cancel(list(self._ids.values()))

    def over(self, workload: Workload) -> Iterator[tuple[str, str]]:
        """Yield the workers whose jobs are over, and how their logs end.

        Raises
        ------
        BatchSystemError
            If the batch system does not answer.
        """
        for worker in self._absent(workload):
            job = self._ids.pop(worker)
            self._seen.discard(worker)
            self._cancelled.discard(worker)
            yield worker, f"its job {job} is over; {self._last_words(worker)}"

    def _absent(self, workload: Workload) -> list[str]:
        now = time.monotonic()
        in_doubt = frozenset(self._ids).difference(workload.workers)
        if in_doubt != self._in_doubt:
            self._in_doubt, self._look_s, self._look_at = in_doubt, _FIRST_LOOK_S, now
        if not in_doubt or now < self._look_at:
            return []
        self._look_at = now + self._look_s
        self._look_s = min(2 * self._look_s, _LONGEST_LOOK_S)
        live = self._jobs.live([self._ids[worker] for worker in in_doubt])
        self._seen |= {worker for worker in in_doubt if self._ids[worker] in live}
        absent = [worker for worker in in_doubt if self._ids[worker] not in live]
        for worker in self._cancelled.intersection(in_doubt).difference(absent):
            self.cancel(worker)
        return [worker for worker in absent if self._is_listed_by_now(worker, now)]

    def _is_listed_by_now(self, worker: str, now: float) -> bool:
        return worker in self._seen or now - self._submitted[worker] >= self._jobs.lag_s

    def _last_words(self, worker: str) -> str:
        log = self._order.log(worker)
        said = _read_from(log, self._log_began[worker]).strip()
        if not said:
            return f"it has printed nothing into {str(log)!r}."
        return f"its log {str(log)!r} ends:\n{said[-_END_OF_LOG:]}"


def _read_from(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except OSError:
        return ""
