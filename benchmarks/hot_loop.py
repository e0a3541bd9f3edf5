"""Measure the dispatcher's hot loop alone, and what a task costs the driver in all.

    python -m benchmarks.hot_loop [--output FILE]
    python -m benchmarks.hot_loop --markdown FILE [--into PAGE]...

The loop is `core.dispatch`: here it is driven without processes, clock or journal, by answers that
are made up. The driver's cost is the processor time of its process, all threads together, while
no-op tasks go through a farm. Takes seconds; for use before and after a change.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.field.tables import publish, publishing, show, table
from benchmarks.field.work import noop
from benchmarks.measuring import Figures, machine, medians, write
from hpcflow import Farm
from hpcflow.core.dispatch import Dispatch
from hpcflow.core.instruction import Chunk, Instruction, Send
from hpcflow.core.stimulus import Exhaust, Join, Offer, Open, Policy, Return, Task

STAGE = "noop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the loop is to do."""

    slots: int
    tasks: int
    task_s: float
    """How long tasks are said to take [s]: short ones travel together."""
    policy: Policy = field(default_factory=Policy)


def loads(tasks: int) -> dict[str, Load]:
    """Return the loads by name, of about so many tasks each."""
    alone = max(1, tasks // 10)
    return {
        "2 slots, chunks of thousands": Load(slots=2, tasks=tasks, task_s=1e-6),
        "2 slots, tasks alone": Load(slots=2, tasks=alone, task_s=1.0),
        "1,000 slots, tasks alone": Load(slots=1000, tasks=alone, task_s=1.0),
        "10,000 slots, tasks alone": Load(slots=10_000, tasks=alone, task_s=1.0),
        "1,000 slots, longest first": Load(
            slots=1000, tasks=alone, task_s=1.0, policy=Policy(ordered=True)
        ),
    }


def loop(load: Load) -> Figures:
    """Drive the state machine through a load; return what a task and a chunk cost."""
    dispatch = Dispatch()
    dispatch.handle(Open(STAGE, load.policy))
    for number in range(load.slots):
        dispatch.handle(Join(f"slot{number}"))
    tasks = [Task(STAGE, str(n), b"", 0.0, position=n) for n in range(load.tasks)]
    used = time.process_time()
    chunks = _drive(dispatch, tasks, task_s=load.task_s)
    used = time.process_time() - used
    return {"a task [us]": 1e6 * used / load.tasks, "a chunk [us]": 1e6 * used / chunks}


def _drive(dispatch: Dispatch, tasks: Sequence[Task], *, task_s: float) -> int:
    """Offer tasks as they are wanted and answer every chunk; return how many there were."""
    out: deque[tuple[str, Chunk]] = deque()
    offered = chunks = 0

    def take(instructions: Sequence[Instruction]) -> None:
        out.extend((each.slot, each.chunk) for each in instructions if isinstance(each, Send))

    while offered < len(tasks) or out:
        wanted = dispatch.wanted(STAGE)
        if wanted and offered < len(tasks):
            take(dispatch.handle(Offer(STAGE, list(tasks[offered : offered + wanted]))))
            offered += wanted
            if offered >= len(tasks):
                take(dispatch.handle(Exhaust(STAGE)))
        slot, chunk = out.popleft()
        chunks += 1
        count = len(chunk.tasks)
        laps = [task_s * n for n in range(count + 1)]
        take(
            dispatch.handle(
                Return(
                    slot=slot,
                    chunk=chunk.number,
                    values=[None] * count,
                    started=laps[:-1],
                    finished=laps[1:],
                    failures={},
                    stored={},
                )
            )
        )
    return chunks


def driver(tasks: int) -> dict[str, Figures]:
    """Return what no-op tasks cost the driver's process, journal off and on.

    Numbers that are at hand go by the column, what a generator yields and other inputs do not.
    """
    inputs: dict[str, Callable[[], Iterable[object]]] = {
        "numbers": lambda: range(tasks),
        "numbers of a generator": lambda: (number for number in range(tasks)),
        "text": lambda: list(map(str, range(tasks))),
    }
    found: dict[str, Figures] = {}
    for journal in ("off", "on"):
        with (
            tempfile.TemporaryDirectory() as base,
            Farm(slots=2, run=Path(base) / "run" if journal == "on" else None) as farm,
        ):
            farm.wait_for_slots()
            for kind, make in inputs.items():
                given = make()
                used = time.process_time()
                count = sum(1 for _ in farm.map(noop, given))
                used = time.process_time() - used
                assert count == tasks, "every task has one outcome"
                case = f"driver, {kind}, journal {journal}"
                found[case] = {"a task [us]": 1e6 * used / tasks}
    return found


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each case.")
@click.option("--tasks", default=200_000, show_default=True, help="Tasks of a case.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@publishing
def main(
    *, rounds: int, tasks: int, output: Path | None, earlier: Path | None, pages: Sequence[Path]
) -> None:
    """Measure what a task costs the dispatcher and the driver."""
    if earlier is not None:
        cases = json.loads(earlier.read_text())["medians"]
        publish({"hot-loop": table(cases, first="case")}, pages)
        return
    figures: dict[str, list[Figures]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        found: Mapping[str, Figures] = {
            **{name: loop(load) for name, load in loads(tasks).items()},
            **driver(tasks),
        }
        for name, each in found.items():
            figures.setdefault(name, []).append(each)
    result = medians(figures)
    show(f"processor time: medians of {rounds} rounds", table(result, first="case"))
    write(output, {"machine": machine(), "medians": result, "rounds": figures})


if __name__ == "__main__":
    main()
