"""MaxOnes: an asynchronous steady-state evolution finds the genome of which all bits are 1.

The simplest problem that an evolutionary search is tried on. An offspring takes the place of an
idle slot's last individual at once, so no slot waits for a generation. Stop it at any time, run it
again: it goes on exactly where it was.

    python examples/max_ones.py runs/max-ones
"""

from __future__ import annotations

import sys

from hpcflow import Farm
from hpcflow.ensembles.evolution import (
    clone,
    create_bits,
    mutate_bits,
    pipeline,
    recombine_uniform,
    select_tournament,
    steady_state,
)

BITS = 32


def count_ones(genome: list[int]) -> int:
    """Return the fitness of a genome."""
    return sum(genome)


def main(run: str | None) -> None:
    """Evolve until all bits are 1, and say how long that took."""
    with Farm(run=run, seed=1) as farm:
        evolution = steady_state(
            farm,
            count_ones,
            create=create_bits(BITS),
            breed=pipeline(select_tournament(2), clone, recombine_uniform(), mutate_bits()),
            births=2000,
            initial=32,
        )
        for individual in evolution:
            if individual.fitness == BITS:
                break
        print(f"{evolution.best.fitness:.0f} of {BITS} after {evolution.evaluations} evaluations")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
