"""An evolution that was cut short goes on exactly where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from numpy.random import Generator

from hpcflow import Farm, RequestError, current_task
from hpcflow.core.event import TaskFailed, TasksSucceeded
from hpcflow.ensembles.evolution import (
    Evolution,
    Individual,
    Offspring,
    by_generation,
    clone,
    create_bits,
    insert_tournament,
    mutate_bits,
    pipeline,
    recombine_uniform,
    select_tournament,
    steady_state,
)
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import Verdict, verify

INITIAL, BIRTHS = 10, 60
KILLS = 3

DRIVER = f"""
import json, sys, time
from hpcflow import Farm, current_task
from hpcflow.ensembles.evolution import *

run, notes, slots, search = sys.argv[1:]
SOME_FAIL = slots != "1"

def evaluate(genome):
    with open(notes, "a") as file:          # one short line: appended whole
        file.write(current_task().key + "\\n")
    time.sleep(0.001 * sum(genome))
    if SOME_FAIL and sum(genome) % 5 == 4:
        raise ValueError("not viable")
    return sum(genome)

if __name__ == "__main__":
    with Farm(slots=int(slots), run=run, seed=11) as farm:
        evolution = {{"steady": steady_state, "generations": by_generation}}[search](
            farm, evaluate, create=create_bits(24), births={BIRTHS}, initial={INITIAL},
            breed=pipeline(select_tournament(2), clone, recombine_uniform(), mutate_bits()),
            insert=insert_tournament(3), count_nonviable=True,
        )
        keys = [individual.key for individual in evolution]
    print(json.dumps({{
        "keys": keys,
        "population": [(i.key, i.genome, i.fitness, i.parents) for i in evolution.population],
        "random state": evolution._draws.bit_generator.state,
    }}))
"""


def start(driver: Path, run: Path, *, slots: int, search: str) -> subprocess.Popen[str]:
    driver.write_text(DRIVER)
    command = [sys.executable, str(driver), str(run), f"{run}-notes", str(slots), search]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(driver: Path, run: Path, *, slots: int, search: str) -> Any:
    process = start(driver, run, slots=slots, search=search)
    answer, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(answer)


def recorded(run: Path) -> list[str]:
    """Return the keys of all outcomes, in the order in which they were recorded."""
    journal = run / "journal.jsonl"
    keys: list[str] = []
    for event in read_journal(journal) if journal.exists() else ():
        if isinstance(event, TasksSucceeded):
            keys.extend(event.keys)
        elif isinstance(event, TaskFailed):
            keys.append(event.key)
    return keys


def kill_at(process: subprocess.Popen[str], run: Path, *, goal: int) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    deadline = time.monotonic() + 60
    while len(recorded(run)) < goal:
        assert process.poll() is None, "the driver ended before it was killed"
        assert time.monotonic() < deadline
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive


def verdict_of(run: Path) -> Verdict:
    return verify(RunDirectory.existing(run))


@pytest.mark.parametrize(("slots", "search"), [(2, "steady"), (1, "steady"), (2, "generations")])
def test_a_run_killed_three_times_equals_one_that_was_not(
    tmp_path: Path, slots: int, search: str
) -> None:
    driver, run = tmp_path / "driver.py", tmp_path / "run"
    journal, notes = run / "journal.jsonl", Path(f"{run}-notes")
    for kill in range(1, KILLS + 1):
        had = set(recorded(run))
        ran = notes.read_text().split() if notes.exists() else []
        before = journal.read_bytes() if journal.exists() else b""
        goal = kill * (INITIAL + BIRTHS) // (KILLS + 1)
        kill_at(start(driver, run, slots=slots, search=search), run, goal=goal)
        assert journal.read_bytes().startswith(before), "the journal was not continued"
        assert had.isdisjoint(notes.read_text().split()[len(ran) :]), "evaluated twice"
    resumed = finish(driver, run, slots=slots, search=search)

    names = [f"initial-{n + 1}" for n in range(INITIAL)]
    names += [f"birth-{n + 1}" for n in range(BIRTHS)]
    assert sorted(recorded(run)) == sorted(names), "each individual once, and no other"
    assert resumed["keys"] == recorded(run), "individuals came back as they were recorded"
    verdict = verdict_of(run)
    assert verdict.complete, verdict.problems
    assert verdict.sessions == KILLS + 1
    assert verdict.succeeded + verdict.failed == INITIAL + BIRTHS
    assert (verdict.failed > 0) == (slots > 1)

    assert finish(driver, run, slots=slots, search=search) == resumed
    if slots == 1 or search == "generations":  # then it does not matter who comes back first
        calm = finish(driver, tmp_path / "calm", slots=slots, search=search)
        assert calm["population"] == resumed["population"]
        assert calm["random state"] == resumed["random state"]


def evolve(farm: Farm, evaluate: Any, *, births: int, **options: Any) -> Evolution:
    return steady_state(
        farm,
        evaluate,
        create=create_bits(12),
        births=births,
        initial=6,
        **{
            "breed": pipeline(select_tournament(2), clone, recombine_uniform(), mutate_bits()),
            "insert": insert_tournament(2),
            **options,
        },
    )


def counted(notes: Path) -> Any:
    def evaluate(genome: list[int]) -> int:
        with notes.open("a") as file:
            file.write(f"{current_task().key}\n")
        return sum(genome)

    return evaluate


breed_bits = pipeline(select_tournament(2), clone, recombine_uniform(), mutate_bits())


class Breed:
    """Breeds as it should, but for one birth."""

    def __init__(self, *, fails_at: int | None) -> None:
        self._fails_at = fails_at
        self._births = 0

    def __call__(self, population: Sequence[Individual], draws: Generator) -> Offspring:
        self._births += 1
        if self._births == self._fails_at:
            raise ZeroDivisionError("all weights are 0")
        return breed_bits(population, draws)


@pytest.mark.parametrize("search", [steady_state, by_generation])
def test_a_breeding_function_that_raises_ends_the_run_and_it_can_be_resumed(
    tmp_path: Path, search: Any
) -> None:
    run, notes = tmp_path / "run", tmp_path / "notes"

    def drive(*, fails_at: int | None) -> Evolution:
        with Farm(slots=2, run=run, seed=3) as farm:
            evolution: Evolution = search(
                farm,
                counted(notes),
                create=create_bits(12),
                breed=Breed(fails_at=fails_at),
                births=40,
                initial=6,
            )
            evolution.run()
        return evolution

    with pytest.raises(RequestError) as caught:
        drive(fails_at=20)
    message = str(caught.value)
    assert message.startswith("cannot breed birth-20: ")
    assert "raised ZeroDivisionError: all weights are 0. Mend it" in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "run the same command again to resume" in "".join(caught.value.__notes__)
    stopped = verdict_of(run)
    assert not stopped.complete
    had = set(recorded(run))
    before = len(notes.read_text().split())

    evolution = drive(fails_at=None)
    assert evolution.evaluations == 46
    assert had.isdisjoint(notes.read_text().split()[before:])
    verdict = verdict_of(run)
    assert verdict.complete, verdict.problems
    assert verdict.succeeded == 46


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"create": lambda draws: 1 / 0}, "cannot create initial-1: .* raised ZeroDivisionError"),
        ({"breed": lambda population, draws: [1]}, r"cannot breed birth-1: .* returned \[1\]"),
        (
            {"breed": pipeline(lambda population, draws: iter(()))},
            "cannot breed birth-1: .* raised StopIteration",
        ),
        (
            {"insert": lambda population, newcomer, draws: population[99]},
            "cannot insert birth-1: .* raised IndexError",
        ),
        (
            {"fitness": lambda value: value["energy"]},
            "cannot read the fitness of initial-.: .* raised TypeError",
        ),
    ],
)
def test_every_function_of_the_users_is_named_when_it_raises(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    options = {"create": lambda draws: [0], "breed": clone_first, "in_flight": 1, **options}

    def drive(**options: Any) -> None:
        with Farm(slots=1, run=tmp_path / "run") as farm:
            steady_state(farm, sum, births=3, initial=1, **options).run()

    with pytest.raises(RequestError, match=message):
        drive(**options)
    assert not verdict_of(tmp_path / "run").complete
    drive(create=lambda draws: [0], breed=clone_first)
    assert verdict_of(tmp_path / "run").complete
    assert verdict_of(tmp_path / "run").succeeded == 4


def clone_first(population: Sequence[Individual], draws: Generator) -> Offspring:
    return Offspring(genome=population[0].genome, parents=(population[0].key,))


def test_a_larger_budget_goes_on_from_where_the_smaller_was_spent(tmp_path: Path) -> None:
    run, notes = tmp_path / "run", tmp_path / "notes"
    for births, expected in ((20, 26), (50, 56)):
        with Farm(slots=2, run=run, seed=5) as farm:
            evolution = evolve(farm, counted(notes), births=births)
            evolution.run()
        assert evolution.evaluations == expected
        assert len(notes.read_text().split()) == expected
    assert verdict_of(run).complete


def test_a_run_goes_on_with_other_slots_and_not_with_another_evolution(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Farm(slots=1, run=run, seed=5) as farm:
        first = [individual.key for individual in evolve(farm, sum, births=20)]
    with Farm(slots=2, run=run) as farm:
        assert [individual.key for individual in evolve(farm, sum, births=20)] == first
    with (
        Farm(slots=2, run=run) as farm,
        pytest.raises(RequestError, match="cannot resume stage 'evolution': the input of task"),
    ):
        evolve(farm, sum, births=20, seed=6)
