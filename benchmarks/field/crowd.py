"""What a task costs scheduler and driver, with few workers and with many.

The workers are light ones (`benchmarks/light.py`): real Dask workers under TLS, many to a process,
whose slots answer after a while instead of running anything. Tasks are as long as it takes for all
slots together to end a thousand a second, so with more workers they are longer, and each travels
alone. What scheduler and driver use at rest is measured afterwards, and not counted.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from benchmarks.field.effort import Effort
from benchmarks.field.work import noop
from benchmarks.launch import Site, site
from benchmarks.light import GPUS
from benchmarks.measuring import Figures
from benchmarks.peer import Peer, cpu_s, wait_for_the_start
from hpcflow import Farm

TRANSPORTS = ("lanes", "tasks")
RATE = 1000
"""Tasks that all slots together end in a second, at most."""
SCHEDULER = "scheduler's CPU per task [ms]"
DRIVER = "driver's CPU per task [ms]"
_FEW = 2000
"""Tasks that tell what one costs."""
_SHORTEST_S = 0.12
"""Longer than this, tasks travel alone [s]."""


def crowd(effort: Effort) -> Iterator[tuple[str, Figures]]:
    """Yield a round's figures of each transport with few workers, then with many."""
    most = effort.crowd_tasks
    few = min(most, max(_FEW, most // 10))
    for workers, tasks in zip(effort.crowds, (few, most), strict=True):
        with site(slots=workers * GPUS, shards=1) as farm:
            _join(farm, workers)
            for transport in TRANSPORTS:
                figures = _drive(
                    farm, transport, workers=workers, tasks=tasks, rest_s=effort.rest_s
                )
                yield case(transport, workers), figures


def case(transport: str, workers: int) -> str:
    """Return the name of a case."""
    return f"{transport}, {workers:,} workers"


def _join(farm: Site, workers: int) -> None:
    cores = len(os.sched_getaffinity(0))
    task_s = max(_SHORTEST_S, workers * GPUS / RATE)
    edges = [workers * part // cores for part in range(cores + 1)]
    peers = [
        farm.start(
            *("-m", "benchmarks.light", "work", "--run", farm.run.path),
            *("--numbers", str(first), str(last), "--of", str(workers), "--shards", "1"),
            *("--task-s", str(task_s)),
        )
        for first, last in itertools.pairwise(edges)
    ]
    for peer in peers:
        peer.wait_for("ready")
        peer.begin()
    for peer in peers:
        peer.wait_for("joined")


def _drive(farm: Site, transport: str, *, workers: int, tasks: int, rest_s: float) -> Figures:
    driver = farm.start(
        *("-m", __name__, "--transport", transport, "--tasks", str(tasks)),
        *("--slots", str(workers * GPUS)),
        HPCFLOW_RUN=str(farm.run.path),
    )
    driver.wait_for("ready")
    driver.begin()
    driver.wait_for("up")
    used, began = cpu_s(farm.schedulers), time.perf_counter()
    driver.begin()
    driver.wait_for("done")
    took = time.perf_counter() - began
    used = cpu_s(farm.schedulers) - used
    scheduler, idle = _at_rest(farm.schedulers, [driver], rest_s=rest_s)
    driver.begin()
    assert driver.process.stdout is not None
    told = json.loads(driver.process.stdout.readline())
    driver.close()
    return {
        SCHEDULER: 1e3 * (used - scheduler * took) / tasks,
        DRIVER: 1e3 * (told["cpu_s"] - idle * took) / tasks,
        "scheduler's CPU at rest [share of a core]": scheduler,
        "driver's CPU at rest [share of a core]": idle,
        "tasks [1/s]": tasks / took,
    }


def _at_rest(*groups: Sequence[Peer], rest_s: float) -> list[float]:
    """Return what each group of processes uses while nothing is asked of it [share of a core]."""
    time.sleep(rest_s / 3)  # what led up to this shall be over
    before = [cpu_s(peers) for peers in groups]
    time.sleep(rest_s)
    return [(cpu_s(peers) - used) / rest_s for peers, used in zip(groups, before, strict=True)]


@click.command()
@click.option("--transport", type=click.Choice(TRANSPORTS), required=True)
@click.option("--tasks", type=int, required=True)
@click.option("--slots", type=int, required=True)
def drive(transport: str, *, tasks: int, slots: int) -> None:
    """Open the farm, run its tasks when told to, and say what that has cost."""
    wait_for_the_start()
    run = Path(os.environ["HPCFLOW_RUN"]).parent / f"run-{transport}"
    with Farm(run=run, transport="tasks" if transport == "tasks" else "lanes") as farm:
        farm.wait_for_slots(slots)
        print("up", flush=True)
        input()
        before = time.process_time()
        count = sum(1 for _ in farm.map(noop, range(tasks)))
        cost = time.process_time() - before
        assert count == tasks, "every task has one outcome"
        print("done", flush=True)
        input()
        print(json.dumps({"cpu_s": cost}), flush=True)


if __name__ == "__main__":
    drive()
