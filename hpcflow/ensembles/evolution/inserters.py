"""Inserters: which individual of a full population a newcomer takes the place of, if any.

An inserter is any callable `insert(population, newcomer, draws)` that changes the list in place
and keeps its length. It is asked about viable newcomers only, once the population is full.

Both of these let a newcomer in only where it is better than the individual whose place it takes:
the steady-state survival of simple asynchronous evolutionary algorithms (E. O. Scott and K. A. De
Jong, "Understanding Simple Asynchronous Evolutionary Algorithms", FOGA XIII, 2015, pp. 85-98), as
LEAP offers it.
"""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from hpcflow.ensembles.evolution.checks import check_count
from hpcflow.ensembles.evolution.individual import Individual

Insert = Callable[[list[Individual], Individual, Generator], None]
"""`insert(population, newcomer, draws)`."""


def insert_greedy(population: list[Individual], newcomer: Individual, _: Generator) -> None:
    """Let the newcomer take the place of the worst individual, if it is better than that."""
    _compete(population, newcomer, range(len(population)))


def insert_tournament(size: int = 2) -> Insert:
    """Return an inserter that holds a tournament.

    The newcomer meets `size - 1` different individuals, drawn at random, and takes the place of
    the worst of them if it is better. With `size=2` this is the rule of the asynchronous
    steady-state algorithm in Coletti, Davidson & Sedova (2022), section 3.1.1; the larger the
    tournament, the closer to `insert_greedy`.

    Parameters
    ----------
    size
        Individuals in a tournament, the newcomer included; more than the population has are as
        many as it has.

    Raises
    ------
    RequestError
        If `size` is no whole number, 2 or more.
    """
    check_count("insert by tournament", size, at_least=2, option="size")

    def insert(population: list[Individual], newcomer: Individual, draws: Generator) -> None:
        count = min(size - 1, len(population))
        rivals = draws.choice(len(population), size=count, replace=False)
        _compete(population, newcomer, rivals.tolist())

    return insert


def _compete(population: list[Individual], newcomer: Individual, rivals: range | list[int]) -> None:
    worst = min(rivals, key=lambda index: population[index].fitness)
    if newcomer.fitness > population[worst].fitness:
        population[worst] = newcomer
