"""Evolutionary searches on a farm."""

from hpcflow.ensembles.evolution.individual import Individual, Offspring
from hpcflow.ensembles.evolution.inserters import Insert, insert_greedy, insert_tournament
from hpcflow.ensembles.evolution.operators import (
    Bounds,
    Breed,
    Create,
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
from hpcflow.ensembles.evolution.search import Evolution, by_generation, steady_state

__all__ = [
    "Bounds",
    "Breed",
    "Create",
    "Evolution",
    "Individual",
    "Insert",
    "Offspring",
    "Operator",
    "by_generation",
    "clone",
    "create_bits",
    "create_reals",
    "insert_greedy",
    "insert_tournament",
    "mutate_bits",
    "mutate_gaussian",
    "pipeline",
    "recombine_points",
    "recombine_uniform",
    "select_random",
    "select_tournament",
    "steady_state",
]
