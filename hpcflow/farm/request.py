"""What a driver asks of a stage."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Collection, Sequence, Sized
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.devices import core_siblings, locate, variable_here
from hpcflow.core.resources import SlotResources, add_cpu_slots, share_cores, share_devices
from hpcflow.core.stimulus import Policy
from hpcflow.errors import RequestError
from hpcflow.farm.transport import Call

Key = Callable[[Any], str]
"""Names a task, given its input."""
Number = Callable[[Any], float] | Sequence[float]
"""A number for each task: told by its input, or one by one."""
Order = Literal["given", "priority", "longest-first"]
"""In which order waiting tasks go out: as given; by priority; by priority and then by cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the driver says of how long tasks take, and how soon they should start."""

    costs: Number | None = None
    priorities: Number | None = None

    @property
    def given(self) -> bool:
        """Whether anything is said."""
        return self.costs is not None or self.priorities is not None

    def check(self) -> None:
        """Refuse what tells no numbers.

        Raises
        ------
        RequestError
            If it is neither a function nor a sequence.
        """
        for name, numbers in self._named():
            if numbers is not None and not (callable(numbers) or isinstance(numbers, Sized)):
                raise RequestError(
                    f"cannot weigh tasks by {numbers!r}: it is a function of the input, or a"
                    f" number for each task. Correct `{name}`."
                )

    def check_count(self, tasks: int) -> None:
        """Refuse numbers that are not one a task.

        Raises
        ------
        RequestError
            If there are more or fewer.
        """
        for name, numbers in self._named():
            if isinstance(numbers, Sized) and len(numbers) != tasks:
                raise RequestError(
                    f"cannot weigh {tasks} tasks by {len(numbers)} numbers: there is one a task."
                    f" Correct `{name}`, or give a function."
                )

    def _named(self) -> tuple[tuple[str, Number | None], ...]:
        return ("cost", self.costs), ("priority", self.priorities)

    def cost(self, value: Any, position: int, given: float | None) -> float:
        """Return the cost of a task.

        Raises
        ------
        RequestError
            If it is not a finite number, 0 or more.
        """
        cost = _number(self.costs, value, position) if given is None else given
        cost = 1.0 if cost is None else cost
        if not (_is_real(cost) and 0 <= cost < math.inf):
            raise RequestError(
                f"cannot give task {position} the cost {cost!r}: a cost is a finite number, 0 or"
                " more. Correct `cost`."
            )
        return float(cost)

    def priority(self, value: Any, position: int, given: float | None) -> float:
        """Return the priority of a task.

        Raises
        ------
        RequestError
            If it is not a finite number.
        """
        priority = _number(self.priorities, value, position) if given is None else given
        priority = 0.0 if priority is None else priority
        if not (_is_real(priority) and math.isfinite(priority)):
            raise RequestError(
                f"cannot give task {position} the priority {priority!r}: a priority is a finite"
                " number. Correct `priority`."
            )
        return float(priority)


def _number(numbers: Number | None, value: Any, position: int) -> float | None:
    if numbers is None or callable(numbers):
        return None if numbers is None else numbers(value)
    if position >= len(numbers):
        raise RequestError(
            f"cannot weigh task {position}: there are {len(numbers)} numbers, one a task. Give as"
            " many as there are tasks, or a function."
        )
    return numbers[position]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What `map`, `stream` and `executor` can be asked for."""

    stage: str | None
    key: Key | None = None
    retries: int
    time_limit_s: float | None
    pool: str | None
    order: Order | None = None
    weights: Weights = Weights()
    after: str | Sequence[str] = ()
    speculate: bool = False
    mixed: bool = False
    total: int | None = None

    def check(self, pools: Collection[str]) -> None:
        """Refuse values out of range, and a pool that the farm does not have.

        Raises
        ------
        RequestError
            If one is.
        """
        if not _is_whole(self.retries) or self.retries < 0:
            raise RequestError(
                f"cannot retry {self.retries!r} times: retries are a whole number, 0 or more."
                " Correct `retries`."
            )
        limit_s = self.time_limit_s
        if limit_s is not None and not (isinstance(limit_s, Real) and limit_s > 0):
            raise RequestError(
                f"cannot limit tasks to {limit_s!r} s: a time limit is a number, more than 0 s."
                " Raise `time_limit_s`, or leave it out."
            )
        if self.pool is not None and self.pool not in pools:
            raise RequestError(
                f"cannot run tasks in pool {self.pool!r}: the farm has {' and '.join(pools)} slots."
                f" Name {' or '.join(map(repr, pools))}, or leave `pool` out."
            )
        if self.order not in (None, *get_args(Order)):
            known = " or ".join(map(repr, get_args(Order)))
            raise RequestError(
                f"cannot order tasks {self.order!r}: the orders are {known}. Correct `order`."
            )
        self.weights.check()
        after: object = self.after
        if not isinstance(after, Sequence) or not all(isinstance(name, str) for name in after):
            raise RequestError(
                f"cannot open a stage after {after!r}: it is the name of a stage, or a list of"
                " names. Correct `after`."
            )
        if self.total is not None and not (_is_whole(self.total) and self.total >= 0):
            raise RequestError(
                f"cannot expect {self.total!r} tasks: their number is whole, 0 or more. Correct"
                " `total`, or leave it out."
            )
        if self.order == "given" and self.weights.priorities is not None:
            raise RequestError(
                "cannot order tasks as given and by priority: it is one or the other. Leave"
                " `order` or `priority` out."
            )

    @property
    def ordered(self) -> bool:
        """Whether tasks may have costs or priorities of their own."""
        return self.weights.given or self.order in ("priority", "longest-first")

    def policy(self, *, rank: int) -> Policy:
        """Return what the dispatcher has to know of it."""
        return Policy(
            retries=self.retries,
            pool=self.pool,
            ordered=self.ordered,
            longest_first=self.order == "longest-first",
            rank=rank,
            speculate=self.speculate,
            mixed=self.mixed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """A map or a stream, ready to begin."""

    name: str
    kind: str
    """`map`, `stream` or `executor`."""
    function: Callable[[Any], Any]
    key: Key | None
    weights: Weights
    policy: Policy
    call: Call
    total: int | None
    """Number of tasks, where it is known."""


def share_machine(
    slots: int | None, *, workers: int, shards: int, devices: Sequence[str], cpu_slots: int
) -> list[SlotResources]:
    """Return the slots of a farm on this machine, which share the cores we may use.

    Raises
    ------
    RequestError
        If there cannot be so many, or not so many devices, workers or shards.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = (len(devices) or len(cores)) if slots is None else slots
    if not _is_whole(count) or count < 1:
        raise RequestError(
            f"cannot start {count!r} slots: a farm has a whole number of them, at least 1. Ask for"
            f" 1 to {len(cores)} slots on this machine, or leave `slots` out to use every core."
        )
    if not _is_whole(workers) or not 1 <= workers <= count:
        raise RequestError(
            f"cannot share {count} slots among {workers!r} workers: each has at least 1 slot. Ask"
            f" for 1 to {count} workers."
        )
    if not _is_whole(shards) or not 1 <= shards <= workers:
        raise RequestError(
            f"cannot share {workers} workers among {shards!r} schedulers: each has at least 1"
            f" worker. Ask for 1 to {workers} shards."
        )
    if not _is_whole(cpu_slots) or cpu_slots < 0 or (cpu_slots and not devices):
        raise RequestError(
            f"cannot place {cpu_slots!r} CPU slots next to slots on devices {devices!r}: they are 0"
            " or more, and only where there are devices. Ask for `slots` alone, or name `devices`."
        )
    siblings = core_siblings(cores)
    if not devices:
        return share_cores(cores, operator.index(count), siblings=siblings)
    if isinstance(devices, str) or count % len(set(devices)) or len(set(devices)) < len(devices):
        raise RequestError(
            f"cannot place {count} slots on devices {devices!r}: they are different names, each for"
            ' as many slots as any other. Correct `devices`, such as ("0", "1"), or `slots`.'
        )
    variable = read_allocation().device_variable or variable_here()
    on_devices = share_devices(
        cores,
        locate(devices, variable=variable),
        variable=variable,
        slots_per_device=count // len(devices),
        siblings=siblings,
    )
    return add_cpu_slots(on_devices, operator.index(cpu_slots))


def check_limit(most_in_flight: int | None) -> None:
    """Refuse what cannot limit the tasks in flight.

    Raises
    ------
    RequestError
        If it is no whole number, at least 1.
    """
    if most_in_flight is not None and not (_is_whole(most_in_flight) and most_in_flight >= 1):
        raise RequestError(
            f"cannot hold a stream to {most_in_flight!r} tasks in flight: the limit is a whole"
            " number, at least 1. Correct `most_in_flight`, or leave it out."
        )


def check_seed(seed: int | None) -> None:
    """Refuse what cannot be the seed of a run.

    Raises
    ------
    RequestError
        If it is no whole number from 0 to 2**63 - 1.
    """
    if seed is not None and not (_is_whole(seed) and 0 <= seed < 2**63):
        raise RequestError(
            f"cannot seed a run with {seed!r}: a seed is a whole number from 0 to 2**63 - 1."
            " Choose another one."
        )


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
