"""The stages of one farm: their names, and what the run knows of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hpcflow.clock import Clock
from hpcflow.core.task import check_key
from hpcflow.errors import RequestError, hint
from hpcflow.farm.call import CallNaming
from hpcflow.farm.flow import Port
from hpcflow.farm.mail import Request
from hpcflow.farm.naming import Naming
from hpcflow.farm.pickling import fingerprint, name_of, pickle_function
from hpcflow.farm.request import StageOptions, StageRequest
from hpcflow.farm.run import Run
from hpcflow.farm.transport import Call
from hpcflow.journal.resume import StageRecord


class Stages:
    """Turns what a driver asks into stages of its own names, held against the run's."""

    def __init__(
        self,
        *,
        pools: Collection[str],
        run: Run | None,
        clock: Clock,
        post: Callable[[Request], None],
        reuse_changed: bool,
    ) -> None:
        """Begin without stages.

        Parameters
        ----------
        pools
            Pools of slots that the farm has.
        run
            The run, if the farm keeps one.
        clock
            For the stamp `created`.
        post
            Puts something into the dispatcher's mailbox.
        reuse_changed
            Resume although functions or inputs have changed since.
        """
        self._pools = pools
        self._run = run
        self._clock = clock
        self._post = post
        self._reuse_changed = reuse_changed
        self._functions = itertools.count(1)
        self._ranks: dict[str, int] = {}
        """The rank of every stage that was opened."""

    def request(
        self, kind: str, function: Callable[[Any], Any], options: StageOptions
    ) -> StageRequest:
        """Return a stage that can begin.

        Raises
        ------
        RequestError
            If an option is out of range, the name is taken, or the function cannot be pickled.
        """
        options.check(self._pools)
        blob = pickle_function(function)
        name = self._name(function, options.stage)
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

    def keep(self, request: StageRequest) -> None:
        """Take note that the stage has begun: its name is taken."""
        self._ranks[request.name] = request.policy.rank

    def free_name(self, base: str) -> str:
        """Return `base`, or with a number if that is taken."""
        names = itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in self._ranks)

    def _name(self, function: Callable[[Any], Any], stage: str | None) -> str:
        if stage is None:
            return self.free_name(name_of(function))
        name = check_key(stage)
        if name in self._ranks:
            raise RequestError(
                f"cannot open stage {stage!r} twice: a stage names one map or stream of a run."
                " Choose another name."
            )
        return name

    def _rank(self, after: str | Sequence[str]) -> int:
        names = [after] if isinstance(after, str) else after
        for name in names:
            if name not in self._ranks:
                help_ = hint(name, self._ranks)
                raise RequestError(
                    f"cannot open a stage after {name!r}: the farm has opened none of that name;"
                    f" {help_} Correct `after`, or open that"
                    " stage first."
                )
        return max((self._ranks[name] + 1 for name in names), default=0)

    # -- what a stage uses

    def naming(self, request: StageRequest) -> Naming:
        """Return what names the tasks of a map or a stream."""
        return Naming(request, self._record(request), reuse_changed=self._reuse_changed)

    def call_naming(self, request: StageRequest) -> CallNaming:
        """Return what names the calls of an executor."""
        return CallNaming(request.name, self._record(request), in_run=self._run is not None)

    def port(self, request: StageRequest) -> Port:
        """Return what a stage uses of its farm.

        Raises
        ------
        RequestError
            If its function has changed since the run was begun.
        """
        mark, record = fingerprint(request.function), self._record(request)
        if record and record.opened.fingerprint != mark and not self._reuse_changed:
            raise RequestError(
                f"cannot resume stage {request.name!r}: the source of function"
                f" {record.opened.function} has changed since the run was begun. Use a new run"
                " directory, or Farm(reuse_changed=True) to keep what was recorded."
            )
        return Port(
            post=self._post,
            clock=self._clock,
            directory=self._run.directory if self._run else None,
            recorded=self._run.recorded if self._run else None,
            fingerprint=mark,
        )

    def _record(self, request: StageRequest) -> StageRecord | None:
        return self._run.recorded.stages.get(request.name) if self._run else None
