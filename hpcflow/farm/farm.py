"""The farm as its users see it."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.machine import load_machine
from hpcflow.core.event import FINISHED, OUT_OF_TIME
from hpcflow.core.resources import pool_of
from hpcflow.core.task import check_key
from hpcflow.errors import BrokenFarmError, FarmError, RequestError, WallTimeError
from hpcflow.farm.allocated import AllocatedProcesses
from hpcflow.farm.call import run_call
from hpcflow.farm.cluster import LocalProcesses
from hpcflow.farm.executor import Calls, FarmExecutor
from hpcflow.farm.flow import Claim, Outcomes, Stream
from hpcflow.farm.mail import Preload, Statistics
from hpcflow.farm.pickling import pickle_call
from hpcflow.farm.processes import Processes, Start
from hpcflow.farm.request import (
    Key,
    Number,
    Order,
    StageOptions,
    Weights,
    check_limit,
    share_machine,
)
from hpcflow.farm.session import Session, Terms
from hpcflow.farm.stages import Stages
from hpcflow.farm.transport import TransportName
from hpcflow.journal.directory import RunDirectory


class Farm:
    """Slots that run Python functions, fed by this process.

    Use it as a context manager. Leaving it records what is back, ends every process it started
    and, where it keeps a run, says in the journal how it ended.

    Examples
    --------
    >>> with Farm(slots=2) as farm:
    ...     print(sorted(outcome.result() for outcome in farm.map(abs, [-2, 1])))
    [1, 2]
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        run: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        workers: int = 1,
        shards: int = 1,
        devices: Sequence[str] = (),
        cpu_slots: int = 0,
        dashboard: bool = False,
        insecure: bool = False,
        transport: TransportName = "lanes",
        ensemble: Mapping[str, Any] | None = None,
        reuse_changed: bool = False,
    ) -> None:
        """Start a scheduler and workers on this machine; slots come up while the caller goes on.

        In a batch job that `hpcflow submit` wrote, the farm is the job's: its schedulers and
        workers are there already, the slots and their devices are what the allocation has, and the
        run is the job's unless another is named.

        Parameters
        ----------
        slots
            Runners, each for one task at a time; the cores that this process may use if None.
            The cores are divided among them.
        run
            Directory of the run: every outcome is recorded there, and what is recorded already is
            not run again. None keeps no record.
        seed
            Seed of the run, from which every task's seed derives. Drawn when the run begins if
            None; a resumed run keeps its own.
        workers
            Dask worker processes that share the slots.
        shards
            Dask schedulers that share the workers; more than one pays with thousands of workers.
        devices
            GPUs to place the slots on, evenly, as the device's runtime names them: `("0", "1")`.
            A slot on each if `slots` is None; no slot has a GPU of its own if empty.
        cpu_slots
            Further slots without a GPU, next to those on `devices`.
        dashboard
            Serve Dask's dashboards, on loopback: every user of this machine can look at them. Says
            on standard error where. (In a batch job: `hpcflow submit --dashboard`.)
        insecure
            Do without TLS: every user of this machine can run code as you. (In a batch job:
            `hpcflow submit --insecure`.)
        transport
            `lanes`, the fast way for chunks of tasks to travel, or `tasks`: each chunk is a Dask
            task, which Dask's dashboards show.
        ensemble
            Description of what the run computes, kept in its `run.toml`. An existing run with
            another description is refused.
        reuse_changed
            Resume although functions or inputs have changed since: what is recorded counts.

        Raises
        ------
        RequestError
            If a value is out of range, the run is another ensemble's, or another process writes it.
        JournalError
            If the run directory cannot be read or written.
        FarmError
            If the scheduler cannot be started.
        """
        allocation = read_allocation()
        resources = share_machine(
            slots, workers=workers, shards=shards, devices=devices, cpu_slots=cpu_slots
        )
        found = Counter(pool_of(each.device) for each in resources)

        def start(directory: RunDirectory, *, keep_logs: bool) -> Processes:
            if allocation.run is not None:
                home = RunDirectory(allocation.run)
                return AllocatedProcesses(
                    home,
                    job=allocation.job,
                    shards=allocation.shards,
                    workers=allocation.workers,
                )
            return LocalProcesses(
                directory,
                resources,
                workers=workers,
                shards=shards,
                keep_logs=keep_logs,
                dashboard=dashboard,
                insecure=insecure,
            )

        self._open(
            start,
            Terms(
                run=allocation.run if run is None else run,
                slots=allocation.slots or found,
                seed=seed,
                transport=transport,
                ensemble=ensemble,
                reuse_changed=reuse_changed,
            ),
        )

    @classmethod
    def elastic(
        cls,
        machine: str | os.PathLike[str],
        *,
        minimum: int = 0,
        maximum: int,
        walltime_s: float,
        account: str | None = None,
        queue: str | None = None,
        interface: str | None = None,
        idle_s: float = 60.0,
        run: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        transport: TransportName = "lanes",
        ensemble: Mapping[str, Any] | None = None,
        reuse_changed: bool = False,
    ) -> Self:
        """Return a farm whose workers are batch jobs of their own, as many as there is work for.

        Each worker is one job of one node and serves a slot for each GPU of it, or for each core
        where there is none. There are more while tasks wait and fewer while they do not; one that
        ends, or leaves before its wall time is over, is replaced. Workers that keep failing are
        started ever more rarely, and then break the farm. The driver runs on a host that the nodes
        can reach, such as a login node, and holds the scheduler.

        On a machine without a batch system the workers are processes in the background, and no
        more than it has nodes.

        Parameters
        ----------
        machine
            Name of a machine that `hpcflow machines` lists, or path of a machine's file.
        minimum
            Workers to have even if no task waits.
        maximum
            Most workers.
        walltime_s
            Wall time of each worker's job [s].
        account
            Whom to charge; as the machine says if None.
        queue
            Where to submit; the machine's first queue if None.
        interface
            Network interface of the driver's host; the machine's, which is that of its nodes, if
            None.
        idle_s
            How long fewer workers must do before one is let go [s].
        run
            Directory of the run, which the nodes must see.
        seed, transport, ensemble, reuse_changed
            As for a farm on this machine.

        Raises
        ------
        RequestError
            If the machine is unknown or cannot give that, or a value is out of range.
        JournalError
            If the run directory cannot be read or written.
        FarmError
            If the scheduler cannot be started.
        """
        from hpcflow.farm.elastic_request import ElasticRequest  # dask-jobqueue takes its time

        request = ElasticRequest(
            machine=load_machine(os.fspath(machine)),
            minimum=minimum,
            maximum=maximum,
            walltime_s=walltime_s,
            account=account,
            queue_name=queue,
            interface=interface,
            idle_s=idle_s,
        )
        request.check(None if run is None else Path(run))
        farm, bounds = cls.__new__(cls), request.bounds
        terms = Terms(
            run=run,
            slots={pool: n * max(1, bounds.minimum) for pool, n in request.slots.items()},
            most_slots=bounds.maximum * bounds.slots,
            seed=seed,
            transport=transport,
            ensemble=ensemble,
            reuse_changed=reuse_changed,
        )
        farm._open(request.start, terms)  # noqa: SLF001  # another way to make one
        return farm

    def _open(self, start: Start, terms: Terms) -> None:
        self._terms = terms
        self._under_way: weakref.WeakSet[Claim | Stream | Calls] = weakref.WeakSet()
        self._closed = False
        session = self._session = Session(start, terms)
        self.seed = session.seed
        """Seed of the run."""
        self.client = session.clients[0]
        """The plain Dask client, usable alongside; that of the first shard where there are more."""
        self._stages = Stages(
            pools=terms.slots,
            run=session.run,
            clock=session.clock,
            post=session.dispatcher.post,
            reuse_changed=terms.reuse_changed,
        )

    # -- work

    def map(
        self,
        function: Callable[[Any], Any],
        tasks: Iterable[Any],
        *,
        stage: str | None = None,
        key: Key | None = None,
        retries: int = 0,
        time_limit_s: float | None = None,
        pool: str | None = None,
        order: Order | None = None,
        cost: Number | None = None,
        priority: Number | None = None,
        after: str | Sequence[str] = (),
        speculate: bool = False,
    ) -> Outcomes:
        """Apply a function to every task; return an iterator of outcomes, as they are completed.

        The farm starts at once and reads `tasks` lazily, on a thread of its own, as far ahead as
        keeps the slots fed; the iterable may be endless. Closing the iterator, or leaving the
        farm, gives up what is not done.

        Parameters
        ----------
        function
            Called with one task, in a runner. A lambda, a closure or a method will do.
        tasks
            Inputs: anything that can be pickled.
        stage
            Name of this group of tasks in the run; the function's name if None.
        key
            Names a task, given its input; position and content name it if None.
        retries
            Further attempts for a task whose attempt failed.
        time_limit_s
            Longest duration of an attempt [s]; it is killed then.
        pool
            `gpu` or `cpu`: the slots with a device of their own, or those without. Any slot takes
            the tasks if None.
        order
            In which order waiting tasks go out: as `given`; by `priority`; or the `longest-first`
            of each priority, by cost (Graham 1969), so that no long one comes last. By priority if
            there are priorities and this is None. Tasks are read ahead to be ordered: up to
            100,000, or 64 MiB of inputs.
        cost
            How long tasks take in relation to each other, such as sequence lengths or file sizes:
            a function of the input, or a number for each. Seconds are learnt as outcomes return.
        priority
            Numbers likewise; tasks with more go first.
        after
            Stages from whose outcomes the tasks of this one are made: it is fed before them, so
            that first final results come early.
        speculate
            Whether slots that have nothing else to do run stragglers once more: the first outcome
            counts, and the other attempt is killed.

        Raises
        ------
        RequestError
            If the request cannot be met: here what can be told at once, in the iteration what
            shows only when the task is read.
        """
        if order == "longest-first" and cost is None:
            raise RequestError(
                "cannot run the longest tasks first: what they cost is not known. Give `cost`."
            )
        items = iter(tasks)
        total = len(tasks) if isinstance(tasks, Sized) else None
        self._check_open()
        request = self._stages.request(
            "map",
            function,
            StageOptions(
                stage=stage,
                key=key,
                retries=retries,
                time_limit_s=time_limit_s,
                pool=pool,
                order=order,
                weights=Weights(costs=cost, priorities=priority),
                after=after,
                speculate=speculate,
                total=total,
            ),
        )
        stages = self._stages
        if isinstance(tasks, list | tuple):
            stages.naming(request).rehearse(tasks)
        outcomes = Outcomes(
            request, items, naming=stages.naming(request), port=stages.port(request)
        )
        stages.keep(request)
        self._under_way.add(outcomes.claim)
        return outcomes

    def stream(
        self,
        function: Callable[[Any], Any],
        *,
        stage: str | None = None,
        key: Key | None = None,
        retries: int = 0,
        time_limit_s: float | None = None,
        pool: str | None = None,
        order: Order | None = None,
        cost: Number | None = None,
        priority: Number | None = None,
        after: str | Sequence[str] = (),
        speculate: bool = False,
        most_in_flight: int | None = None,
        total: int | None = None,
    ) -> Stream:
        """Return a stream: tasks are submitted one by one, the next depending on outcomes.

        Parameters
        ----------
        function, stage, key, retries, time_limit_s, pool, order, cost, priority, after, speculate
            As in `map`.
        most_in_flight
            Back-pressure: a submission waits while this many tasks are out and not back; no limit
            if None.
        total
            How many tasks there will be, where that is known: for progress displays alone.

        Raises
        ------
        RequestError
            If the request cannot be met.
        """
        self._check_open()
        request = self._stages.request(
            "stream",
            function,
            StageOptions(
                stage=stage,
                key=key,
                retries=retries,
                time_limit_s=time_limit_s,
                pool=pool,
                order=order,
                weights=Weights(costs=cost, priorities=priority),
                after=after,
                speculate=speculate,
                total=total,
            ),
        )
        check_limit(most_in_flight)
        stream = Stream(
            request,
            naming=self._stages.naming(request),
            port=self._stages.port(request),
            most_in_flight=most_in_flight,
        )
        self._stages.keep(request)
        self._under_way.add(stream)
        return stream

    def executor(
        self,
        *,
        stage: str | None = None,
        retries: int = 0,
        time_limit_s: float | None = None,
        pool: str | None = None,
    ) -> FarmExecutor:
        """Return a `concurrent.futures.Executor` on the slots: for what asks for one.

        Its calls are tasks of a stage. In a resumed run, a call whose outcome is recorded is not
        run again: it is known by its function, its arguments, and how many times the same was
        submitted before it. Leaving the farm cancels what waits, and fails what runs.

        Parameters
        ----------
        stage
            Name of the stage; `executor`, `executor-2` and so on if None.
        retries, time_limit_s, pool
            As in `map`.

        Raises
        ------
        RequestError
            If the request cannot be met.
        """
        self._check_open()
        options = StageOptions(
            stage=self._stages.free_name("executor") if stage is None else stage,
            retries=retries,
            time_limit_s=time_limit_s,
            pool=pool,
            mixed=True,
        )
        request = self._stages.request("executor", run_call, options)
        calls = Calls(self._stages.call_naming(request))
        port = self._stages.port(request)
        calls.follow(Outcomes(request, calls.read(), naming=calls.naming, port=port))
        self._stages.keep(request)
        self._under_way.add(calls)
        return FarmExecutor(calls)

    def preload(self, name: str, load: Callable[..., Any], *args: Any) -> None:
        """Load an object once in every runner: `preloaded(name)` is `load(*args)` in a task.

        Runners that start later, or again, load it before their first task. A slot whose load
        raises takes no tasks.

        Raises
        ------
        RequestError
            If `load` or an argument cannot be pickled.
        """
        self._check_open()
        self._session.dispatcher.post(Preload(check_key(name), pickle_call(load, args)))

    # -- the farm itself

    @property
    def directory(self) -> RunDirectory | None:
        """The run directory; None where the farm keeps no run."""
        return self._session.run.directory if self._session.run else None

    @property
    def process_ids(self) -> dict[str, int]:
        """Ids of the farm's own processes by name: `scheduler`, and each worker's name."""
        return self._session.processes.pids

    def statistics(self) -> Statistics:
        """Return how many slots are up and what became of the tasks so far."""
        self._check_open()
        return self._session.dispatcher.statistics()

    def wait_for_slots(self, count: int | None = None, *, timeout_s: float = 120.0) -> None:
        """Wait until slots take tasks.

        Parameters
        ----------
        count
            How many; all that were asked for if None, which are those of `minimum` workers, and of
            one at least, in an elastic farm. That farm grows for them.
        timeout_s
            Longest wait [s].

        Raises
        ------
        FarmError
            If they are not up in time: says why, where a slot has said so.
        RequestError
            If more are wanted than the farm has.
        """
        self._check_open()
        asked = sum(self._terms.slots.values())
        has = self._terms.most_slots or asked
        wanted = asked if count is None else count
        if wanted > has:
            raise RequestError(
                f"cannot wait for {wanted} slots: the farm has {has}. Ask Farm for more."
            )
        self._session.dispatcher.wait_for_slots(wanted, timeout_s=timeout_s)

    def close(self) -> None:
        """Record what is back and end every process. What is not done is given up."""
        if not self._closed:
            for stage in list(self._under_way):
                stage.close()
        self._close(FINISHED)

    def _close(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._session.close(reason)

    def _check_open(self) -> None:
        if self._closed:
            raise FarmError("cannot use the farm: it is closed. Open another one.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        self._close(_reason(error))
        if self.directory is not None:
            error.add_note(
                f"hpcflow: what came back is recorded in {str(self.directory.path)!r};"
                " run the same command again to resume."
            )


def _reason(error: BaseException | None) -> str:
    """Return what the journal says of a session that an error ended."""
    match error:
        case KeyboardInterrupt():
            return "interrupted"
        case WallTimeError() | BrokenFarmError(__cause__=WallTimeError()):
            return OUT_OF_TIME
        case _:
            return f"error: {error!r}"
