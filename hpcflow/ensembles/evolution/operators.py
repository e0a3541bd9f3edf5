"""Breeding: a pipeline of operators, each a plain callable.

An operator is any callable `operator(individuals, draws)` that takes what the one before it yields
and yields what the next one takes. The first, which selects, takes the population; what the last
one yields first is the offspring. So operators are generators that go on for as long as they are
asked, and random numbers come from `draws` alone:

    def swap_two(offspring, draws):
        for child in offspring:
            i, j = draws.choice(len(child.genome), size=2, replace=False)
            child.genome[i], child.genome[j] = child.genome[j], child.genome[i]
            yield child

Parents stay as they are: `clone` makes of each individual an offspring with a genome of its own,
which the operators after it may change in place. Those that stand here work on genomes that are
lists or numpy arrays with one axis.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from hpcflow.ensembles.evolution.checks import check_callable, check_count, check_number
from hpcflow.ensembles.evolution.individual import Individual, Offspring
from hpcflow.errors import RequestError

Operator = Callable[[Any, Generator], Iterator[Any]]
"""`operator(individuals, draws)`: yields for as long as it is asked."""
Breed = Callable[[Sequence[Individual], Generator], Offspring]
"""`breed(population, draws)`: makes one offspring."""
Create = Callable[[Generator], Any]
"""`create(draws)`: makes the genome of an individual without parents."""
Bounds = Sequence[tuple[float, float]]
"""Least and greatest value of each gene."""
_ATOMS = frozenset({int, float, bool, str})


def pipeline(*operators: Operator) -> Breed:
    """Return a breeding function that passes the population through operators, in their order.

    Raises
    ------
    RequestError
        If there is none, or one is not callable.

    Examples
    --------
    >>> breed = pipeline(select_tournament(size=2), clone, recombine_uniform(), mutate_bits())
    """
    if not operators:
        raise RequestError(
            "cannot breed through a pipeline of 0 operators: the first one selects. Give"
            " operators, such as `select_random, clone, mutate_bits()`."
        )
    for operator in operators:
        check_callable("operator", operator, form="operator(individuals, draws)")

    def breed(population: Sequence[Individual], draws: Generator) -> Offspring:
        individuals: Any = population
        for operator in operators:
            individuals = operator(individuals, draws)
        offspring: Offspring = next(iter(individuals))
        return offspring

    return breed


# -- selection: population to parents


def select_random(population: Sequence[Individual], draws: Generator) -> Iterator[Individual]:
    """Yield individuals, each as likely as any other."""
    while True:
        yield population[int(draws.integers(len(population)))]


def select_tournament(size: int = 2) -> Operator:
    """Return an operator that yields the best of `size` individuals drawn with replacement.

    Raises
    ------
    RequestError
        If `size` is no whole number, 1 or more.
    """
    check_count("select by tournament", size, at_least=1, option="size")

    def select(population: Sequence[Individual], draws: Generator) -> Iterator[Individual]:
        while True:
            rivals = draws.integers(len(population), size=size).tolist()
            yield max((population[rival] for rival in rivals), key=_fitness)

    return select


def _fitness(individual: Individual) -> float:
    return individual.fitness


# -- parents to offspring


def clone(parents: Iterator[Individual], _: Generator) -> Iterator[Offspring]:
    """Yield, for each parent, an offspring with a copy of its genome."""
    for parent in parents:
        yield Offspring(genome=_copied(parent.genome), parents=(parent.key,))


def _copied(genome: Any) -> Any:
    """Return a copy; of a list of numbers without `deepcopy`, which costs ten times as much."""
    if type(genome) is list and _ATOMS.issuperset(map(type, genome)):
        return genome.copy()
    return copy.deepcopy(genome)


# -- offspring to offspring


def recombine_uniform(swap: float = 0.5) -> Operator:
    """Return an operator that makes one offspring of two, taking each gene from either.

    Parameters
    ----------
    swap
        Probability that a gene comes from the second, from 0 to 1.

    Raises
    ------
    RequestError
        If `swap` is no probability.
    """
    if not 0 <= swap <= 1:
        raise RequestError(
            f"cannot recombine with swap = {swap!r}: it is a number from 0 to 1. Correct `swap`."
        )

    def recombine(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
        for first in offspring:
            second = next(offspring)
            genes = len(first.genome)
            yield _mixed(first, second, from_second=draws.random(genes) < swap)

    return recombine


def recombine_points(points: int = 2) -> Operator:
    """Return an operator that makes one offspring of two, cut at `points` places at random.

    Pieces come from one and the other by turns. Where genomes are too short for so many cuts,
    they are cut between all genes.

    Raises
    ------
    RequestError
        If `points` is no whole number, 1 or more.
    """
    check_count("recombine", points, at_least=1, option="points")

    def recombine(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
        for first in offspring:
            second = next(offspring)
            inner = np.arange(1, max(1, len(first.genome)))
            cuts = draws.choice(inner, size=min(points, len(inner)), replace=False)
            turns = np.zeros(len(first.genome), dtype=np.int64)
            turns[cuts] = 1
            yield _mixed(first, second, from_second=np.cumsum(turns) % 2 == 1)

    return recombine


def _mixed(first: Offspring, second: Offspring, *, from_second: Any) -> Offspring:
    parents = tuple(dict.fromkeys((*first.parents, *second.parents)))
    if isinstance(first.genome, np.ndarray):
        genome: Any = np.where(from_second, second.genome, first.genome)
    else:
        pairs = zip(first.genome, second.genome, from_second.tolist(), strict=True)
        genome = [theirs if swapped else own for own, theirs, swapped in pairs]
    return Offspring(genome=genome, parents=parents)


def mutate_bits(expected: float = 1.0) -> Operator:
    """Return an operator that flips bits (0 and 1, or booleans), each with equal probability.

    Parameters
    ----------
    expected
        How many bits of a genome flip, on average.

    Raises
    ------
    RequestError
        If `expected` is no number above 0.
    """
    check_number("mutate", expected, above=0, option="expected")

    def mutate(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
        for child in offspring:
            flips = draws.random(len(child.genome)) * len(child.genome) < expected
            for index in np.flatnonzero(flips).tolist():
                child.genome[index] = type(child.genome[index])(not child.genome[index])
            yield child

    return mutate


def mutate_gaussian(
    std: float | Sequence[float], *, probability: float = 1.0, bounds: Bounds | None = None
) -> Operator:
    """Return an operator that adds normally distributed noise to genes.

    Parameters
    ----------
    std
        Standard deviation of the noise: of every gene, or one for each [in the gene's unit].
    probability
        Probability that a gene changes, above 0 to 1.
    bounds
        Least and greatest value of each gene; beyond them a gene is set to the nearer one.

    Raises
    ------
    RequestError
        If a standard deviation is no number above 0, or `probability` is none.
    """
    for one in np.ravel(np.asarray(std, dtype=object)).tolist():
        check_number("mutate", one, above=0, option="std")
    check_number("mutate", probability, above=0, option="probability")
    limits = None if bounds is None else np.transpose(np.asarray(bounds, dtype=float))

    def mutate(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
        for child in offspring:
            genes = np.asarray(child.genome, dtype=float)
            noise = draws.normal(scale=std, size=len(genes))
            genes = genes + np.where(draws.random(len(genes)) < probability, noise, 0.0)
            if limits is not None:
                genes = np.clip(genes, *limits)
            is_array = isinstance(child.genome, np.ndarray)
            yield replace(child, genome=genes if is_array else genes.tolist())

    return mutate


# -- genomes without parents


def create_bits(length: int) -> Create:
    """Return a function that makes lists of `length` random bits.

    Raises
    ------
    RequestError
        If `length` is no whole number, 1 or more.
    """
    check_count("create bits", length, at_least=1, option="length")

    def create(draws: Generator) -> list[int]:
        bits: list[int] = draws.integers(2, size=length).tolist()
        return bits

    return create


def create_reals(bounds: Bounds) -> Create:
    """Return a function that makes lists of numbers, each uniform between its bounds.

    Raises
    ------
    RequestError
        If there are none, or a lower bound is not below its upper one.
    """
    if not len(bounds) or not all(low < high for low, high in bounds):
        raise RequestError(
            f"cannot create numbers with bounds = {bounds!r}: each gene has a lower bound below its"
            " upper one. Correct `bounds`."
        )
    low, high = np.transpose(np.asarray(bounds, dtype=float))

    def create(draws: Generator) -> list[float]:
        genes: list[float] = draws.uniform(low, high).tolist()
        return genes

    return create
