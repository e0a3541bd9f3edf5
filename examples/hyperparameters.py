"""Hyper-parameters of a support vector machine on handwritten digits, by evolution.

The genome holds the logarithms of penalty C and kernel width gamma; the fitness is the accuracy in
threefold cross-validation. The data are loaded once in every runner. A model that cannot be
trained is an individual that is not viable, and no end of the run.

    python examples/hyperparameters.py runs/digits
"""

from __future__ import annotations

import sys
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from hpcflow import Farm, preloaded
from hpcflow.ensembles.evolution import (
    clone,
    create_reals,
    insert_tournament,
    mutate_gaussian,
    pipeline,
    recombine_uniform,
    select_tournament,
    steady_state,
)

BOUNDS = [(-3.0, 3.0), (-6.0, 0.0)]
"""Of log10 C and log10 gamma."""


def load() -> tuple[Any, Any]:
    """Return 600 images and the digits that they show."""
    images, digits = load_digits(return_X_y=True)
    return images[:600], digits[:600]


def accuracy(genome: list[float]) -> float:
    """Return the share of digits that are recognized."""
    images, digits = preloaded("digits")
    log_c, log_gamma = genome
    model = SVC(C=10**log_c, gamma=10**log_gamma)
    return float(cross_val_score(model, images, digits, cv=3, error_score="raise").mean())


def main(run: str | None) -> None:
    """Evolve, and print the best hyper-parameters."""
    with Farm(run=run, seed=1) as farm:
        farm.preload("digits", load)
        best = steady_state(
            farm,
            accuracy,
            create=create_reals(BOUNDS),
            breed=pipeline(
                select_tournament(2),
                clone,
                recombine_uniform(),
                mutate_gaussian(0.3, bounds=BOUNDS),
            ),
            births=40,
            initial=10,
            insert=insert_tournament(3),
        ).run()
    log_c, log_gamma = best.genome
    print(f"accuracy {best.fitness:.3f} with C = {10**log_c:.3g}, gamma = {10**log_gamma:.3g}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
