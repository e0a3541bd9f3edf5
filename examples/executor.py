"""A farm under somebody else's loop: SciPy's differential evolution on an executor.

Whatever takes a `concurrent.futures.Executor`, or a map of its own, runs on a farm like this. The
search is seeded with the run's seed, so a run that was stopped continues: what was evaluated
before comes from its journal.

    python examples/executor.py runs/executor        (with the extra `examples`)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scipy.optimize import differential_evolution, rosen

from hpcflow import Farm


def evaluate(parameters: Sequence[float]) -> float:
    """Return how far a model with these parameters is off: here Rosenbrock's function."""
    return float(rosen(parameters))


def main(run: str | None) -> None:
    """Search, and print the best parameters."""
    with Farm(run=run) as farm, farm.executor() as executor:
        found = differential_evolution(
            evaluate,
            bounds=[(-2, 2)] * 2,
            workers=executor.map,
            updating="deferred",  # a generation at a time: its individuals are evaluated at once
            maxiter=25,
            seed=farm.seed % 2**32,
            polish=False,
        )
    best = ", ".join(f"{value:.2f}" for value in found.x)
    print(f"{found.fun:.4f} at ({best}) after {found.nfev} evaluations")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
