"""A farm's life: its run, its processes and its dispatcher, from the start to the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcflow.batch.allocation import read_allocation
from hpcflow.clock import SystemClock
from hpcflow.core.event import FINISHED, SessionClosed
from hpcflow.farm.dispatcher import JOIN_LIMIT_S, Dispatcher
from hpcflow.farm.interrupts import late_interrupt, quiet_dask
from hpcflow.farm.lanes import Lanes
from hpcflow.farm.members import Members
from hpcflow.farm.modules import driver_path
from hpcflow.farm.processes import Start
from hpcflow.farm.request import check_seed
from hpcflow.farm.run import Run, open_run
from hpcflow.farm.tasks import Tasks
from hpcflow.farm.transport import Report, Transport, TransportName, check_transport
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import Setup
from hpcflow.journal.directory import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a farm is asked to be, wherever its processes run."""

    run: str | os.PathLike[str] | None
    slots: Mapping[str, int]
    """Slots asked for, by pool."""
    most_slots: int | None = None
    """How many there may be, when the batch system gives them, if the farm is elastic."""
    seed: int | None
    transport: TransportName
    ensemble: Mapping[str, Any] | None
    reuse_changed: bool


class Session:
    """One opening of a farm."""

    def __init__(self, start: Start, terms: Terms) -> None:
        """Open the run, start the processes and follow them; leave nothing if that fails.

        Parameters
        ----------
        start
            Starts the processes, or finds them.
        terms
            What was asked.

        Raises
        ------
        RequestError
            If a value is out of range, the run is another ensemble's, or another process writes it.
        JournalError
            If the run directory cannot be read or written.
        FarmError
            If the processes cannot be started.
        """
        check_seed(terms.seed)
        check_transport(terms.transport)
        self.clock = SystemClock()
        self.run: Run | None = None
        if terms.run is not None:
            self.run = open_run(
                RunDirectory(Path(terms.run).absolute()),
                seed=terms.seed,
                slots=sum(terms.slots.values()),
                elastic=terms.most_slots is not None,
                ensemble=terms.ensemble,
                clock=self.clock,
            )
            self._directory, self.seed = self.run.directory, self.run.seed
        else:
            self._directory = RunDirectory(Path(tempfile.mkdtemp(prefix="hpcflow-")))
            self._directory.create()
            self.seed = int.from_bytes(os.urandom(6)) if terms.seed is None else terms.seed
        with contextlib.ExitStack() as undo:
            undo.callback(self._let_go, "error: the farm could not be started")
            with late_interrupt():
                self._start(start, terms, undo)
            undo.pop_all()

    def _start(self, start: Start, terms: Terms, undo: contextlib.ExitStack) -> None:
        self.processes = start(self._directory, keep_logs=self.run is not None)
        undo.callback(self.processes.close)
        self.clients = self.processes.connect()
        for client in self.clients:
            undo.callback(client.close)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            journal=self.run.writer if self.run else None,
            slots=sum(terms.slots.values()),
            expected=terms.most_slots or 1,
            join_limit_s=None if terms.most_slots else JOIN_LIMIT_S,
            ends_at=read_allocation().ends_at,
        )
        self.dispatcher.start(self._transport(terms.transport))
        undo.callback(self.dispatcher.close, for_good=False)
        members = Members(self.clients, self.dispatcher.post)
        self.processes.guard(members.gone, self.dispatcher)
        members.follow()

    def _transport(self, name: TransportName) -> Callable[[Callable[[Report], None]], Transport]:
        """Return what makes the transport, once there is a loop for it."""
        root = self._directory.path.absolute()
        setup = Setup(
            versions=own_versions(),
            sys_path=driver_path(),
            directory=str(Path.cwd()),
            run_seed=self.seed,
            run_directory=str(root) if self.run else None,
            scratch=str(root),
            ends_at=read_allocation().ends_at,
            logs=str(self._directory.logs.absolute()) if self.run else None,
        )

        def make(report: Callable[[Report], None]) -> Transport:
            if name == "tasks":
                return Tasks(report, setup=setup, clients=self.clients)
            return Lanes(report, setup=setup, connection=self.clients[0].connection_args)

        return make

    def close(self, reason: str) -> None:
        """Record what is back and how the session ended, and end every process of its own."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet_dask())
            stack.callback(self._let_go, reason)
            stack.callback(self.processes.close)
            stack.callback(self.dispatcher.close, for_good=reason == FINISHED)
            for client in self.clients:
                client.close()

    def _let_go(self, reason: str) -> None:
        if self.run is not None:
            self.run.close(SessionClosed(at=self.clock.now(), reason=reason))
        else:
            shutil.rmtree(self._directory.path, ignore_errors=True)
