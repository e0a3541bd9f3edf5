"""Who makes room for a newcomer."""

from __future__ import annotations

import pytest
from numpy.random import default_rng

from hpcflow import RequestError
from hpcflow.ensembles.evolution import Individual, insert_greedy, insert_tournament


def individual(fitness: float) -> Individual:
    return Individual(key=f"birth-{fitness:g}", genome=None, parents=(), fitness=fitness)


def population() -> list[Individual]:
    return [individual(fitness) for fitness in (3.0, 1.0, 2.0)]


def test_greedy_replaces_the_worst() -> None:
    changed = population()
    insert_greedy(changed, individual(1.5), default_rng(0))
    assert [each.fitness for each in changed] == [3.0, 1.5, 2.0]


@pytest.mark.parametrize("fitness", [1.0, 0.5])
@pytest.mark.parametrize("insert", [insert_greedy, insert_tournament(2), insert_tournament(9)])
def test_only_a_better_one_gets_in(insert: object, fitness: float) -> None:
    changed = population()
    assert callable(insert)
    for seed in range(20):
        insert(changed, individual(fitness), default_rng(seed))
    assert changed == population()


def test_a_binary_tournament_meets_a_random_rival() -> None:
    replaced = set()
    for seed in range(50):
        changed = population()
        insert_tournament()(changed, individual(9.0), default_rng(seed))
        (newcomer,) = (n for n, each in enumerate(changed) if each.fitness == 9)
        replaced.add(newcomer)
    assert replaced == {0, 1, 2}


def test_of_more_rivals_the_worst_makes_room() -> None:
    worst_met = []
    for seed in range(300):
        changed = population()
        insert_tournament(3)(changed, individual(9.0), default_rng(seed))
        worst_met.append(6.0 + 9.0 - sum(each.fitness for each in changed))
    # of two different rivals out of three, the best is never the worse one
    assert set(worst_met) == {1.0, 2.0}
    assert worst_met.count(1.0) / 300 == pytest.approx(2 / 3, abs=0.1)


def test_a_tournament_with_everybody_is_greedy() -> None:
    changed, expected = population(), population()
    insert_tournament(100)(changed, individual(1.5), default_rng(0))
    insert_greedy(expected, individual(1.5), default_rng(0))
    assert changed == expected


@pytest.mark.parametrize("size", [1, 0, -2, 2.0, "2", None, True])
def test_a_tournament_has_two_or_more(size: object) -> None:
    with pytest.raises(RequestError, match=r"it is a whole number, 2 or more\. Correct `size`"):
        insert_tournament(size)  # type: ignore[arg-type]
