"""A dynamic stream: an asynchronous steady-state evolutionary algorithm (ASEA).

Listing 1 of Coletti, Davidson & Sedova (2022), "Toward designing effective exascale scientific
computing workflows", on a farm: whenever an individual comes back it competes with a random one of
the population, and an offspring of a random parent keeps the idle slot busy. The driver's random
numbers are seeded with the run's seed, so a run that was stopped continues exactly.

    python examples/steady_state.py runs/evolution
"""

from __future__ import annotations

import random
import sys

from hpcflow import Farm

Genome = list[float]
DIMENSIONS = 5
POPULATION = 20
EVALUATIONS = 400


def evaluate(genome: Genome) -> float:
    """Return the fitness of a genome, to be minimized: the sphere function."""
    return sum(gene * gene for gene in genome)


def mutate(genome: Genome, draws: random.Random) -> Genome:
    """Return a clone with Gaussian noise on every gene."""
    return [gene + draws.gauss(0, 0.3) for gene in genome]


def main(run: str | None) -> None:
    """Evolve, and print the best individual."""
    with Farm(run=run) as farm, farm.stream(evaluate) as stream:
        draws = random.Random(farm.seed)
        genomes: dict[str, Genome] = {}
        population: list[tuple[float, Genome]] = []

        def submit(genome: Genome) -> None:
            genomes[stream.submit(genome)] = genome

        for _ in range(POPULATION):
            submit([draws.uniform(-5, 5) for _ in range(DIMENSIONS)])
        for outcome in stream:
            individual = (outcome.result(), genomes.pop(outcome.key))
            if len(population) < POPULATION:
                population.append(individual)
            else:
                rival = draws.randrange(POPULATION)
                population[rival] = min(population[rival], individual)
            if stream.submitted < EVALUATIONS:
                submit(mutate(draws.choice(population)[1], draws))
        fitness, genome = min(population)
    print(f"{stream.submitted} evaluations, best fitness {fitness:.4f} at {genome}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
