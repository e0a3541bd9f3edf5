"""Evolutions on a farm: they find what they look for, within their budget, and fill the slots."""

from __future__ import annotations

import itertools
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.random import Generator

from hpcflow import Farm, RequestError, current_task
from hpcflow.core.event import TasksSucceeded
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
    select_random,
    select_tournament,
    steady_state,
)
from hpcflow.journal.reader import read_journal

BITS = 16
breed_bits = pipeline(select_tournament(2), clone, recombine_uniform(), mutate_bits())


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2, seed=2022) as farm:
        yield farm


@pytest.mark.parametrize("seed", range(1, 21))
def test_max_ones_is_solved(farm: Farm, seed: int) -> None:
    evolution = steady_state(
        farm,
        sum,
        create=create_bits(BITS),
        breed=breed_bits,
        births=1000,
        initial=20,
        seed=seed,
        stage=f"seed-{seed}",
    )
    assert any(individual.fitness == BITS for individual in evolution)
    evolution.close()
    assert evolution.best.genome == [1] * BITS


@pytest.mark.parametrize("search", [steady_state, by_generation])
def test_max_ones_is_solved_by_tournament_insertion_too(
    farm: Farm, search: Callable[..., Evolution]
) -> None:
    evolution = search(
        farm,
        sum,
        create=create_bits(BITS),
        breed=breed_bits,
        births=1500,
        initial=20,
        insert=insert_tournament(2),
        stage=f"tournament-{search.__name__}",
    )
    assert evolution.run().fitness == BITS
    assert evolution.evaluations == 1520


def number(draws: Generator) -> list[int]:
    return [0]


def descend(population: Any, draws: Generator) -> Offspring:
    parent = population[-1]
    return Offspring(genome=[parent.genome[0] + 1], parents=(parent.key,))


def failing_once(marker: Path, *, initial: bool) -> Callable[[list[int]], int]:
    """Fail for one individual: of the initial population, or an offspring."""

    def evaluate(genome: list[int]) -> int:
        if current_task().key.startswith("initial") == initial:
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                return genome[0]
            raise ValueError("not viable")
        return genome[0]

    return evaluate


@pytest.mark.parametrize("search", [steady_state, by_generation])
def test_two_and_four_births_are_six_evaluations(
    farm: Farm, search: Callable[..., Evolution]
) -> None:
    evolution = search(
        farm,
        sum,
        create=number,
        breed=descend,
        births=4,
        initial=2,
        stage=f"budget-{search.__name__}",
    )
    assert sorted(individual.key for individual in evolution) == [
        *("birth-1", "birth-2", "birth-3", "birth-4"),
        *("initial-1", "initial-2"),
    ]
    assert (evolution.evaluations, evolution.births, evolution.nonviable) == (6, 4, 0)


@pytest.mark.parametrize("search", [steady_state, by_generation])
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(("counted", "evaluations"), [(True, 6), (False, 7)])
def test_one_that_is_not_viable_counts_or_is_made_up_for(
    farm: Farm,
    tmp_path: Path,
    search: Callable[..., Evolution],
    *,
    initial: bool,
    counted: bool,
    evaluations: int,
) -> None:
    evolution = search(
        farm,
        failing_once(tmp_path / "failed", initial=initial),
        create=number,
        breed=descend,
        births=4,
        initial=2,
        count_nonviable=counted,
        stage=f"failed-{search.__name__}-{initial}-{counted}",
    )
    individuals = list(evolution)
    assert len(individuals) == evolution.evaluations == evaluations
    (failed,) = (individual for individual in individuals if not individual.viable)
    assert failed.key.startswith("initial") == initial
    assert failed.error == "exception: ValueError: not viable"
    assert math.isnan(failed.fitness)
    assert failed not in evolution.population
    viable = [individual.key.partition("-")[0] for individual in individuals if individual.viable]
    if not counted:
        assert (viable.count("initial"), viable.count("birth")) == (2, 4)


def test_an_evaluation_that_kills_its_runner_does_not_end_the_run(farm: Farm) -> None:
    def evaluate(genome: list[int]) -> int:
        if genome[0] in (2, 5):
            os._exit(7)
        return genome[0]

    def next_number(population: Any, draws: Generator) -> Offspring:
        return Offspring(genome=[next(numbers)])

    numbers = iter(range(1, 100))
    evolution = steady_state(
        farm, evaluate, create=number, breed=next_number, births=8, initial=2, stage="crashes"
    )
    individuals = list(evolution)
    assert sorted(i.genome[0] for i in individuals) == [0, 0, *range(1, 11)]
    errors = [i.error for i in individuals if not i.viable]
    assert len(errors) == 2
    assert all(error is not None and error.startswith("exit") for error in errors)


@pytest.mark.parametrize("search", [steady_state, by_generation])
def test_a_run_of_which_nothing_is_viable_ends_all_the_same(
    farm: Farm, search: Callable[..., Evolution]
) -> None:
    def fail(genome: list[int]) -> None:
        raise ValueError("always")

    options: dict[str, Any] = {"create": number, "breed": descend, "births": 4, "initial": 2}
    name = search.__name__
    counted = search(farm, fail, **options, count_nonviable=True, stage=f"none-{name}")
    individuals = list(counted)
    assert [individual.viable for individual in individuals] == [False] * 6
    assert sum(individual.key.startswith("birth") for individual in individuals) == 4
    assert counted.population == []
    with pytest.raises(RequestError, match="none of 6 evaluated ones is viable"):
        _ = counted.best
    with pytest.raises(RequestError, match=r"cannot make up for 6 .*ValueError: always"):
        search(farm, fail, **options, stage=f"endless-{name}").run()


@pytest.mark.parametrize("fitness", [math.nan, None, "7", [7.0]])
def test_what_is_no_number_is_no_fitness(farm: Farm, fitness: Any) -> None:
    evolution = steady_state(
        farm,
        lambda _: fitness,
        create=number,
        breed=descend,
        births=0,
        initial=1,
        count_nonviable=True,
        stage=f"fitness-{fitness!r}",
    )
    (individual,) = evolution
    assert not individual.viable
    assert individual.error == f"its fitness is {fitness!r}, and no number"


def test_the_worst_possible_fitness_is_viable_and_the_first_to_be_replaced(farm: Farm) -> None:
    evolution = steady_state(
        farm,
        lambda genome: -math.inf if genome[0] == 0 else genome[0],
        create=number,
        breed=descend,
        births=3,
        initial=1,
        stage="infinite",
    )
    assert evolution.run().fitness == 3
    assert (evolution.nonviable, [i.fitness for i in evolution.population]) == (0, [3.0])


def test_fitness_may_be_read_from_all_that_an_evaluation_returns(farm: Farm) -> None:
    evolution = steady_state(
        farm,
        lambda genome: {"energy": -genome[0], "steps": 5},
        fitness=lambda value: -value["energy"],
        create=number,
        breed=descend,
        births=3,
        initial=1,
        stage="energies",
    )
    assert evolution.run().value == {"energy": -3, "steps": 5}


def test_no_more_are_in_flight_than_asked_for_and_parents_are_as_new_as_can_be(farm: Farm) -> None:
    evolution = steady_state(
        farm, sum, create=number, breed=descend, births=10, initial=1, stage="one-by-one"
    )
    lineage = [(individual.key, individual.parents) for individual in evolution]
    names = ["initial-1", *(f"birth-{n}" for n in range(1, 11))]
    assert lineage == [(names[0], ()), *((b, (a,)) for a, b in itertools.pairwise(names))]


def sleep_a_while(genome: list[int]) -> int:
    time.sleep(random.Random(str(genome)).uniform(0.01, 0.04))
    return sum(genome)


def test_a_generation_is_bred_from_the_one_before_whatever_comes_back_first(
    tmp_path: Path,
) -> None:
    def evaluate(genome: list[int]) -> int:
        time.sleep(random.uniform(0, 0.02))
        return sum(genome)

    populations = []
    for slots in (1, 2):
        with Farm(slots=slots, seed=4) as farm:
            evolution = by_generation(
                farm, evaluate, create=create_bits(8), breed=breed_bits, births=30, initial=6
            )
            evolution.run()
            populations.append(evolution.population)
    assert populations[0] == populations[1]


def waiting_at_each_finish(run: Path) -> list[int]:
    """Return how many individuals waited whenever a slot became free, while any were still made."""
    events = [e for e in read_journal(run / "journal.jsonl") if isinstance(e, TasksSucceeded)]
    created = [at for event in events for at in event.created]
    started = [at for event in events for at in event.started]
    finished = [at for event in events for at in event.finished if at < max(created)]
    return [sum(at <= end for at in created) - sum(at < end for at in started) for end in finished]


def test_no_slot_is_idle_while_budget_is_left(tmp_path: Path) -> None:
    options: dict[str, Any] = {"create": create_bits(8), "breed": breed_bits, "births": 60}
    with Farm(slots=2, run=tmp_path / "steady") as farm:
        steady_state(farm, sleep_a_while, **options, initial=12).run()
    with Farm(slots=2, run=tmp_path / "by-generation") as farm:
        by_generation(farm, sleep_a_while, **options, initial=12).run()
    steady = waiting_at_each_finish(tmp_path / "steady")
    assert len(steady) > 50
    assert min(steady) >= 1, "a slot became free and nobody waited for it"
    assert min(waiting_at_each_finish(tmp_path / "by-generation")) == 0


def test_an_evolution_that_is_closed_leaves_the_slots_to_the_next(farm: Farm) -> None:
    evolution = steady_state(
        farm,
        lambda _: time.sleep(600),
        create=number,
        breed=descend,
        births=4,
        initial=4,
        stage="given-up",
    )
    evolution.close()
    assert list(evolution) == []
    after = steady_state(
        farm, sum, create=number, breed=descend, births=1, initial=1, stage="after-it"
    )
    assert after.run().fitness == 1


def test_every_random_number_derives_from_the_seed_of_the_run() -> None:
    lineages: list[list[Individual]] = []
    for seed in (1, 1, 2):
        with Farm(slots=1, seed=seed) as farm:
            evolution = steady_state(
                farm,
                sum,
                create=create_bits(BITS),
                breed=pipeline(select_random, clone, mutate_bits()),
                births=20,
                initial=1,
                population=5,
                insert=insert_tournament(3),
            )
            lineages.append(list(evolution))
    assert lineages[0] == lineages[1] != lineages[2]
