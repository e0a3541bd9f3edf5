"""The global minimum of a cluster of 13 Lennard-Jones atoms, by evolution.

A task relaxes a structure with scipy's L-BFGS-B; the fitness is the energy that it reaches, with
the sign reversed. Two relaxed parents are cut by a plane through their centres and spliced, as in
D. M. Deaven and K. M. Ho, "Molecular Geometry Optimization with a Genetic Algorithm", Physical
Review Letters 75, 288 (1995). The minimum, an icosahedron, is at -44.326801 epsilon (Cambridge
Cluster Database). Lengths are in sigma, energies in epsilon.

    python examples/lennard_jones.py runs/lj13
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy.optimize import minimize

from hpcflow import Farm
from hpcflow.ensembles.evolution import (
    Individual,
    Offspring,
    pipeline,
    select_tournament,
    steady_state,
)

ATOMS = 13
MINIMUM = -44.326801
"""Energy of the global minimum [epsilon]."""
Array = npt.NDArray[np.float64]


def energy_and_gradient(flat: Array) -> tuple[float, Array]:
    """Return energy [epsilon] and gradient [epsilon/sigma] of positions [sigma] in one row."""
    positions = flat.reshape(-1, 3)
    first, second = np.triu_indices(len(positions), k=1)
    apart = positions[first] - positions[second]
    inverse_6 = np.sum(apart**2, axis=1) ** -3.0
    energy = 4 * np.sum(inverse_6**2 - inverse_6)
    pull = (24 * (inverse_6 - 2 * inverse_6**2) / np.sum(apart**2, axis=1))[:, None] * apart
    gradient = np.zeros_like(positions)
    np.add.at(gradient, first, pull)
    np.add.at(gradient, second, -pull)
    return float(energy), gradient.ravel()


def relax(start: list[list[float]]) -> dict[str, Any]:
    """Return the structure [sigma] and its energy [epsilon] in the minimum next to a start."""
    found = minimize(energy_and_gradient, np.ravel(start), jac=True, method="L-BFGS-B")
    positions = found.x.reshape(-1, 3)
    return {"energy": float(found.fun), "positions": (positions - positions.mean(axis=0)).tolist()}


def scatter(draws: Generator) -> list[list[float]]:
    """Return atoms at random places [sigma]."""
    positions: list[list[float]] = draws.uniform(-1.5, 1.5, size=(ATOMS, 3)).tolist()
    return positions


def cut_and_splice(parents: Iterator[Individual], draws: Generator) -> Iterator[Offspring]:
    """Yield offspring with the top of one relaxed parent and the bottom of another."""
    for top in parents:
        bottom = next(parents)
        halves = [by_height(parent.value["positions"], draws) for parent in (top, bottom)]
        cut = int(draws.integers(1, ATOMS))
        spliced = np.concatenate((halves[0][:cut], halves[1][cut:]))
        yield Offspring(genome=spliced.tolist(), parents=(top.key, bottom.key))


def by_height(positions: list[list[float]], draws: Generator) -> Array:
    """Return atoms, turned at random, from the highest to the lowest."""
    rotation, _ = np.linalg.qr(draws.normal(size=(3, 3)))
    turned: Array = np.asarray(positions) @ rotation
    return turned[np.argsort(-turned[:, 2])]


def shake(offspring: Iterator[Offspring], draws: Generator) -> Iterator[Offspring]:
    """Yield offspring with every atom moved a little."""
    for child in offspring:
        moved = np.asarray(child.genome) + draws.normal(scale=0.05, size=(ATOMS, 3))
        yield Offspring(genome=moved.tolist(), parents=child.parents)


def main(run: str | None) -> None:
    """Evolve until the global minimum is found, and print its energy."""
    with Farm(run=run, seed=1) as farm:
        evolution = steady_state(
            farm,
            relax,
            fitness=lambda value: -value["energy"],
            create=scatter,
            breed=pipeline(select_tournament(2), cut_and_splice, shake),
            births=1000,
            initial=20,
        )
        for individual in evolution:
            if individual.fitness > -MINIMUM - 1e-6:
                break
        energy = -evolution.best.fitness
        print(f"{energy:.6f} epsilon after {evolution.evaluations} relaxations")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
