"""Measure the farm on this machine: 1 ms tasks, a million no-op tasks, streams, and memory.

    python -m benchmarks.throughput [--output FILE]

Journal off and on alternate (A B A B) in one run; figures are medians over the rounds. Nothing
else should run on the machine meanwhile.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.measuring import machine, medians, show, write
from hpcflow import Farm

SLOTS = 2


def noop(_: int) -> None:
    """Do nothing."""


def millisecond(_: int) -> None:
    """Take a millisecond."""
    time.sleep(0.001)


def seconds(work: Callable[[], int], expected: int) -> float:
    """Return how long `work` takes [s]; it must return the number of outcomes."""
    began = time.perf_counter()
    count = work()
    took = time.perf_counter() - began
    if count != expected:
        raise RuntimeError(f"{count} outcomes instead of {expected}")
    return took


def drain(outcomes: Iterable[Any]) -> int:
    """Count outcomes as they come."""
    return sum(1 for _ in outcomes)


def stream(farm: Farm, total: int, width: int) -> int:
    """Keep `width` tasks in flight until `total` are done."""
    done = 0
    with farm.stream(noop) as tasks:
        tasks.submit_all(range(width))
        for _ in tasks:
            done += 1
            if tasks.submitted < total:
                tasks.submit(done)
    return done


def measure(run: Path | None, *, million: int) -> dict[str, float]:
    """Return one round's figures, journaled into `run` or not."""
    figures: dict[str, float] = {}
    with Farm(slots=SLOTS, run=run) as farm:
        farm.wait_for_slots()
        drain(farm.map(noop, range(1000)))
        took = seconds(lambda: drain(farm.map(millisecond, range(5000))), 5000)
        figures["1 ms tasks: efficiency"] = 5000 * 0.001 / SLOTS / took
        processes = {"driver": os.getpid(), "scheduler": farm.process_ids["scheduler"]}
        before = {name: psutil.Process(pid).memory_info().rss for name, pid in processes.items()}
        took = seconds(lambda: drain(farm.map(noop, (n for n in range(million)))), million)
        figures["no-op tasks: per second"] = million / took
        for name, pid in processes.items():
            growth = psutil.Process(pid).memory_info().rss - before[name]
            figures[f"no-op tasks: {name} memory growth [MiB]"] = growth / 2**20
        for width in (2, 8, 64):
            took = seconds(lambda width=width: stream(farm, 5000, width), 5000)  # type: ignore[misc]
            figures[f"stream, {width} in flight: per second"] = 5000 / took
    return figures


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of journal off and on.")
@click.option("--million", default=1_000_000, show_default=True, help="Number of no-op tasks.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
def main(rounds: int, million: int, output: Path | None) -> None:
    """Measure the farm on this machine."""
    figures: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    for number in range(rounds):
        for journal, collected in figures.items():
            print(f"round {number + 1} of {rounds}, journal {journal}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as directory:
                run = Path(directory) / "run" if journal == "on" else None
                collected.append(measure(run, million=million))
    found = medians(figures)
    show(
        f"medians of {rounds} rounds",
        {f"journal {journal}": each for journal, each in found.items()},
    )
    write(output, {"machine": machine(), "medians": found, "rounds": figures})


if __name__ == "__main__":
    main()
