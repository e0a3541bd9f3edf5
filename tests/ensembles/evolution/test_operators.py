"""Operators on genomes: what they make, what they leave alone, and that they are seeded."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng

from hpcflow import RequestError
from hpcflow.ensembles.evolution import (
    Individual,
    Offspring,
    Operator,
    clone,
    create_bits,
    create_reals,
    mutate_bits,
    mutate_gaussian,
    pipeline,
    recombine_points,
    recombine_uniform,
    select_random,
    select_tournament,
)

ANYTHING: dict[str, Any] = {"word": "clone", "half": 1.5}
"""What a driver without types may pass."""


def individual(key: str, genome: Any, fitness: float = 0.0) -> Individual:
    return Individual(key=key, genome=genome, parents=(), fitness=fitness)


POPULATION = [individual(f"initial-{n}", [n] * 6, fitness=float(n)) for n in range(10)]


def offspring_of(*genomes: Any) -> Iterator[Offspring]:
    for number, genome in enumerate(genomes):
        yield Offspring(genome=genome, parents=(f"initial-{number}",))


def test_random_selection_takes_every_individual_equally_often() -> None:
    parents = select_random(POPULATION, default_rng(1))
    counts = Counter(next(parents).key for _ in range(10_000))
    assert len(counts) == 10
    assert 800 < min(counts.values()) <= max(counts.values()) < 1200


@pytest.mark.parametrize(("size", "share_of_best"), [(1, 0.1), (2, 0.19), (3, 0.271)])
def test_the_larger_the_tournament_the_more_often_the_best_wins(
    size: int, share_of_best: float
) -> None:
    parents = select_tournament(size)(POPULATION, default_rng(2))
    wins = sum(next(parents).fitness == 9 for _ in range(10_000))
    assert wins / 10_000 == pytest.approx(share_of_best, abs=0.02)


def test_a_clone_has_a_genome_of_its_own_and_knows_its_parent() -> None:
    parent = individual("birth-7", [[1], [2]])
    child = next(clone(iter([parent]), default_rng(0)))
    child.genome[0].append(9)
    assert parent.genome == [[1], [2]]
    assert child.parents == ("birth-7",)


@pytest.mark.parametrize("make", [list, np.array])
def test_uniform_recombination_takes_each_gene_from_either_parent(make: Any) -> None:
    zeros, ones = make([0] * 1000), make([1] * 1000)
    child = next(recombine_uniform(0.3)(offspring_of(zeros, ones), default_rng(3)))
    assert type(child.genome) is type(zeros)
    assert 250 < sum(child.genome) < 350
    assert child.parents == ("initial-0", "initial-1")


def test_a_parent_that_mates_with_itself_is_named_once() -> None:
    twins = (Offspring(genome=[1], parents=("birth-1",)) for _ in range(2))
    assert next(recombine_uniform()(twins, default_rng(0))).parents == ("birth-1",)


@pytest.mark.parametrize(("points", "pieces"), [(1, 2), (2, 3), (5, 6), (100, 10)])
def test_recombination_at_points_alternates_whole_pieces(points: int, pieces: int) -> None:
    for seed in range(20):
        parents = offspring_of([0] * 10, [1] * 10)
        genome = next(recombine_points(points)(parents, default_rng(seed))).genome
        assert 1 + sum(a != b for a, b in itertools.pairwise(genome)) == pieces


def test_a_genome_of_one_gene_cannot_be_cut() -> None:
    child = next(recombine_points(1)(offspring_of([0], [1]), default_rng(0)))
    assert child.genome == [0]


@pytest.mark.parametrize("genome", [[0] * 50, [True] * 50, np.zeros(50, dtype=np.int8)])
def test_bits_flip_as_often_as_expected_and_stay_bits(genome: Any) -> None:
    flips = []
    draws = default_rng(4)
    for _ in range(500):
        child = next(mutate_bits(2)(offspring_of(genome.copy()), draws))
        flips.append(sum(a != b for a, b in zip(genome, child.genome, strict=True)))
        assert {type(bit) for bit in child.genome} == {type(genome[0])}
    assert np.mean(flips) == pytest.approx(2, abs=0.2)


def test_gaussian_mutation_has_a_width_for_each_gene_and_keeps_bounds() -> None:
    bounds = [(-1.0, 1.0), (-100.0, 100.0)]
    mutate = mutate_gaussian([0.1, 20.0], bounds=bounds)
    draws = default_rng(5)
    children = np.array([next(mutate(offspring_of([0.9, 0.0]), draws)).genome for _ in range(2000)])
    assert children[:, 0].max() == 1.0
    assert np.std(children[:, 1]) == pytest.approx(20, rel=0.1)
    assert np.abs(children[:, 1]).max() <= 100


def test_gaussian_mutation_may_leave_genes_alone() -> None:
    mutate = mutate_gaussian(1.0, probability=0.25)
    child = next(mutate(offspring_of(np.zeros(4000)), default_rng(6)))
    assert np.mean(child.genome != 0) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    "last", [mutate_bits(), mutate_gaussian(0.1), recombine_uniform(), recombine_points()]
)
def test_a_pipeline_leaves_the_population_as_it_was_and_repeats_with_its_seed(
    last: Operator,
) -> None:
    population = [individual(f"initial-{n}", [n % 2] * 8, float(n)) for n in range(5)]
    before = [list(each.genome) for each in population]
    breed = pipeline(select_tournament(2), clone, last)
    first = [breed(population, default_rng(seed)) for seed in range(20)]
    again = [breed(population, default_rng(seed)) for seed in range(20)]
    assert first == again
    assert [each.genome for each in population] == before
    assert len({str(child.genome) for child in first}) > 1


def test_an_operator_of_ones_own_is_a_generator() -> None:
    def swap_two(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
        for child in offspring:
            i, j = draws.choice(len(child.genome), size=2, replace=False)
            child.genome[i], child.genome[j] = child.genome[j], child.genome[i]
            yield child

    tour = individual("initial-1", [0, 1, 2, 3])
    child = pipeline(select_random, clone, swap_two)([tour], default_rng(0))
    assert sorted(child.genome) == [0, 1, 2, 3]
    assert sum(a != b for a, b in zip(child.genome, tour.genome, strict=True)) == 2


def test_genomes_are_created_within_their_bounds() -> None:
    draws = default_rng(7)
    bits = create_bits(1000)(draws)
    assert set(bits) == {0, 1}
    assert 400 < sum(bits) < 600
    reals = [create_reals([(-1, 0), (5, 9)])(draws) for _ in range(500)]
    assert all(-1 <= x <= 0 and 5 <= y <= 9 for x, y in reals)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipeline, "cannot breed through a pipeline of 0 operators: .* Give"),
        (
            lambda: pipeline(ANYTHING["word"]),
            "cannot use 'clone' as `operator`: .* str is not callable",
        ),
        (lambda: select_tournament(0), "cannot select by tournament with size = 0: .* 1 or more"),
        (lambda: select_tournament(ANYTHING["half"]), r"size = 1\.5: it is a whole number"),
        (
            lambda: recombine_uniform(1.2),
            r"cannot recombine with swap = 1\.2: it is a number from 0 to 1",
        ),
        (lambda: recombine_uniform(float("nan")), "swap = nan"),
        (lambda: recombine_points(0), "cannot recombine with points = 0"),
        (lambda: mutate_bits(0), "cannot mutate with expected = 0: .* more than 0"),
        (lambda: mutate_gaussian(-1), "cannot mutate with std = -1: .* Correct `std`"),
        (lambda: mutate_gaussian([0.1, ANYTHING["word"]]), "std = 'clone'"),
        (lambda: mutate_gaussian(1, probability=0), "probability = 0"),
        (lambda: create_bits(0), "cannot create bits with length = 0"),
        (lambda: create_reals([(1, 0)]), r"with bounds = \[\(1, 0\)\]: .* Correct `bounds`"),
        (lambda: create_reals([]), r"with bounds = \[\]"),
    ],
)
def test_bad_input_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make()
