"""LEAP's own asynchronous steady state, on a farm: `client` is all that it needs of it.

LEAP (leap_ec: M. A. Coletti, E. O. Scott and J. K. Bassett, GECCO 2020) gives its individuals to
a Dask client. They run in the farm's workers, one at a time in each: so ask for as many workers as
slots. They are not journaled; `max_ones.py` does the same with `hpcflow.ensembles.evolution`.

    python examples/leap_steady_state.py
"""

from __future__ import annotations

import os

from leap_ec import Representation, ops
from leap_ec.binary_rep.initializers import create_binary_sequence
from leap_ec.binary_rep.ops import mutate_bitflip
from leap_ec.binary_rep.problems import MaxOnes
from leap_ec.distrib import DistributedIndividual, asynchronous

from hpcflow import Farm

BITS = 12


def main() -> None:
    """Evolve, and print the best individual."""
    slots = len(os.sched_getaffinity(0))
    workers: set[int] = set()
    with Farm(slots=slots, workers=slots) as farm:
        farm.wait_for_slots()
        population = asynchronous.steady_state(
            client=farm.client,
            max_births=500,
            init_pop_size=10,
            pop_size=10,
            representation=Representation(
                initialize=create_binary_sequence(BITS), individual_cls=DistributedIndividual
            ),
            problem=MaxOnes(),
            offspring_pipeline=[
                ops.tournament_selection,
                ops.clone,
                mutate_bitflip(expected_num_mutations=1),
                ops.pool(size=1),
            ],
            evaluated_probe=lambda individual: workers.add(individual.pid),
        )
    best = max(population)
    print(f"{best.fitness} of {BITS}, evaluated by {len(workers)} of {slots} workers")


if __name__ == "__main__":
    main()
