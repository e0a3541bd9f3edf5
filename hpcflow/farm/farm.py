"""The farm as its users see it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.machine import load_machine
from hpcflow.clock import SystemClock
from hpcflow.core.event import FINISHED, OUT_OF_TIME, SessionClosed
from hpcflow.core.resources import pool_of
from hpcflow.core.task import check_key
from hpcflow.errors import BrokenFarmError, FarmError, RequestError, WallTimeError, nearest
from hpcflow.farm.allocated import AllocatedProcesses
from hpcflow.farm.call import CallNaming, run_call
from hpcflow.farm.cluster import LocalProcesses, Processes, Start
from hpcflow.farm.dispatcher import JOIN_LIMIT_S, Dispatcher
from hpcflow.farm.executor import Calls, FarmExecutor
from hpcflow.farm.flow import Outcomes, Port, Stream
from hpcflow.farm.interrupts import late_interrupt, quiet_dask
from hpcflow.farm.lanes import Lanes
from hpcflow.farm.mail import Preload, Statistics
from hpcflow.farm.members import Members
from hpcflow.farm.modules import driver_path
from hpcflow.farm.pickling import fingerprint, name_of, pickle_call, pickle_function
from hpcflow.farm.request import (
    Key,
    Number,
    Order,
    StageOptions,
    StageRequest,
    Weights,
    check_limit,
    check_seed,
    share_machine,
)
from hpcflow.farm.run import Run, open_run
from hpcflow.farm.stage import Naming
from hpcflow.farm.tasks import Tasks
from hpcflow.farm.transport import Call, Report, Transport, TransportName, check_transport
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import Setup
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
            run=allocation.run if run is None else run,
            slots=allocation.slots or found,
            seed=seed,
            transport=transport,
            ensemble=ensemble,
            reuse_changed=reuse_changed,
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
        farm._open(  # noqa: SLF001  # another way to make one
            request.start,
            run=run,
            slots={pool: n * max(1, bounds.minimum) for pool, n in request.slots.items()},
            most_slots=bounds.maximum * bounds.slots,
            seed=seed,
            transport=transport,
            ensemble=ensemble,
            reuse_changed=reuse_changed,
        )
        return farm

    def _open(
        self,
        start: Start,
        *,
        run: str | os.PathLike[str] | None,
        slots: Mapping[str, int],
        most_slots: int | None = None,
        seed: int | None,
        transport: TransportName,
        ensemble: Mapping[str, Any] | None,
        reuse_changed: bool,
    ) -> None:
        """Open the run, start the processes and follow them.

        Parameters
        ----------
        start
            Starts the processes, or finds them.
        slots
            Slots asked for, by pool.
        most_slots
            How many there may be, and not before the batch system gives them, if the farm is
            elastic.
        """
        check_seed(seed)
        check_transport(transport)
        self._transport = transport
        self._slots = slots
        self._most_slots = most_slots
        self._reuse_changed = reuse_changed
        self._ranks: dict[str, int] = {}
        """The rank of every stage that was opened."""
        self._functions = itertools.count(1)
        self._stages: weakref.WeakSet[Outcomes | Stream | Calls] = weakref.WeakSet()
        self._closed = False
        self._run: Run | None = None
        self._clock = SystemClock()
        if run is not None:
            self._run = open_run(
                RunDirectory(Path(run).absolute()),
                seed=seed,
                slots=sum(slots.values()),
                elastic=most_slots is not None,
                ensemble=ensemble,
                clock=self._clock,
            )
            self._directory = self._run.directory
        else:
            self._directory = RunDirectory(Path(tempfile.mkdtemp(prefix="hpcflow-")))
            self._directory.create()
        self.seed: int = (
            self._run.seed if self._run else int.from_bytes(os.urandom(6)) if seed is None else seed
        )
        """Seed of the run."""
        with contextlib.ExitStack() as undo:
            undo.callback(self._let_go, "error: the farm could not be started")
            with late_interrupt():
                self._start(start, undo)
            undo.pop_all()

    def _start(self, start: Start, undo: contextlib.ExitStack) -> None:
        self._processes = start(self._directory, keep_logs=self._run is not None)
        undo.callback(self._processes.close)
        self._clients = self._processes.connect()
        self.client = self._clients[0]
        """The plain Dask client, usable alongside; that of the first shard where there are more."""
        for client in self._clients:
            undo.callback(client.close)
        self._dispatcher = Dispatcher(
            clock=self._clock,
            journal=self._run.writer if self._run else None,
            slots=sum(self._slots.values()),
            expected=self._most_slots or 1,
            join_limit_s=None if self._most_slots else JOIN_LIMIT_S,
            ends_at=read_allocation().ends_at,
        )
        self._dispatcher.start(self._make_transport)
        undo.callback(self._dispatcher.close, for_good=False)
        members = Members(self._clients, self._dispatcher.post)
        self._processes.guard(members.gone, self._dispatcher)
        members.follow()

    def _make_transport(self, report: Callable[[Report], None]) -> Transport:
        root = self._directory.path.absolute()
        setup = Setup(
            versions=own_versions(),
            sys_path=driver_path(),
            directory=str(Path.cwd()),
            run_seed=self.seed,
            run_directory=str(root) if self._run else None,
            scratch=str(root),
            ends_at=read_allocation().ends_at,
            logs=str(self._directory.logs.absolute()) if self._run else None,
        )
        if self._transport == "tasks":
            return Tasks(report, setup=setup, clients=self._clients)
        return Lanes(report, setup=setup, connection=self.client.connection_args)

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
            Whether idle slots run stragglers once more at the end: the first outcome counts, and
            the other attempt is killed.

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
        request = self._request(
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
        if isinstance(tasks, list | tuple):
            self._naming(request).rehearse(tasks)
        outcomes = Outcomes(request, items, naming=self._naming(request), port=self._port(request))
        self._ranks[request.name] = request.policy.rank
        self._stages.add(outcomes)
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
        request = self._request(
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
            naming=self._naming(request),
            port=self._port(request),
            most_in_flight=most_in_flight,
        )
        self._ranks[request.name] = request.policy.rank
        self._stages.add(stream)
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
        options = StageOptions(
            stage=self._free_name("executor") if stage is None else stage,
            retries=retries,
            time_limit_s=time_limit_s,
            pool=pool,
            mixed=True,
        )
        request = self._request("executor", run_call, options)
        record = self._run.recorded.stages.get(request.name) if self._run else None
        calls = Calls(CallNaming(request.name, record, in_run=self._run is not None))
        port = self._port(request)
        calls.follow(Outcomes(request, calls.read(), naming=calls.naming, port=port))
        self._ranks[request.name] = request.policy.rank
        self._stages.add(calls)
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
        self._dispatcher.post(Preload(check_key(name), pickle_call(load, args)))

    def _request(
        self, kind: str, function: Callable[[Any], Any], options: StageOptions
    ) -> StageRequest:
        self._check_open()
        options.check(self._slots)
        blob = pickle_function(function)
        name = self._name_stage(function, options.stage)
        return StageRequest(
            name=name,
            kind=kind,
            function=function,
            key=options.key,
            weights=options.weights,
            policy=options.policy(rank=self._rank(options.after)),
            call=Call(number=next(self._functions), blob=blob, limit_s=options.time_limit_s),
            total=options.total,
        )

    def _rank(self, after: str | Sequence[str]) -> int:
        names = [after] if isinstance(after, str) else after
        for name in names:
            if name not in self._ranks:
                raise RequestError(
                    f"cannot open a stage after {name!r}: {nearest(name, self._ranks)} Correct"
                    " `after`, or open that stage first."
                )
        return max((self._ranks[name] + 1 for name in names), default=0)

    def _name_stage(self, function: Callable[[Any], Any], stage: str | None) -> str:
        if stage is None:
            return self._free_name(name_of(function))
        name = check_key(stage)
        if name in self._ranks:
            raise RequestError(
                f"cannot open stage {stage!r} twice: a stage names one map or stream of a run."
                " Choose another name."
            )
        return name

    def _free_name(self, base: str) -> str:
        names = itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in self._ranks)

    def _naming(self, request: StageRequest) -> Naming:
        record = self._run.recorded.stages.get(request.name) if self._run else None
        return Naming(request, record, reuse_changed=self._reuse_changed)

    def _port(self, request: StageRequest) -> Port:
        mark = fingerprint(request.function)
        record = self._run.recorded.stages.get(request.name) if self._run else None
        if record and record.opened.fingerprint != mark and not self._reuse_changed:
            raise RequestError(
                f"cannot resume stage {request.name!r}: the source of function"
                f" {record.opened.function} has changed since the run was begun. Use a new run"
                " directory, or Farm(reuse_changed=True) to keep what was recorded."
            )
        return Port(
            post=self._dispatcher.post,
            clock=self._clock,
            directory=self._run.directory if self._run else None,
            recorded=self._run.recorded if self._run else None,
            fingerprint=mark,
        )

    # -- the farm itself

    @property
    def directory(self) -> RunDirectory | None:
        """The run directory; None where the farm keeps no run."""
        return self._run.directory if self._run else None

    @property
    def process_ids(self) -> dict[str, int]:
        """Ids of the farm's own processes by name: `scheduler`, and each worker's name."""
        return self._processes.pids

    def statistics(self) -> Statistics:
        """Return how many slots are up and what became of the tasks so far."""
        self._check_open()
        return self._dispatcher.statistics()

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
        asked = sum(self._slots.values())
        has = self._most_slots or asked
        wanted = asked if count is None else count
        if wanted > has:
            raise RequestError(
                f"cannot wait for {wanted} slots: the farm has {has}. Ask Farm for more."
            )
        self._dispatcher.wait_for_slots(wanted, timeout_s=timeout_s)

    def close(self) -> None:
        """Record what is back and end every process. What is not done is given up."""
        if not self._closed:
            for stage in list(self._stages):
                stage.close()
        self._close(FINISHED)

    def _close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet_dask())
            stack.callback(self._let_go, reason)
            stack.callback(self._processes.close)
            stack.callback(self._dispatcher.close, for_good=reason == FINISHED)
            for client in self._clients:
                client.close()

    def _let_go(self, reason: str) -> None:
        if self._run is not None:
            self._run.close(SessionClosed(at=self._clock.now(), reason=reason))
        else:
            shutil.rmtree(self._directory.path, ignore_errors=True)

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
        if self._run is not None:
            error.add_note(
                f"hpcflow: what came back is recorded in {str(self._run.directory.path)!r};"
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
