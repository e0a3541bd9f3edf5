"""A model that is loaded once in every runner, and used by all of its tasks.

Listing 5 of Coletti, Davidson & Sedova (2022), "Toward designing effective exascale scientific
computing workflows", on a farm. Runners that start late, or again after a crash, load it too.

    python examples/preloaded_model.py runs/model
"""

from __future__ import annotations

import os
import sys

import numpy as np

from hpcflow import Farm, preloaded

LOADS = "HPCFLOW_EXAMPLE_LOADS"
"""Environment variable: file that gets a line for each load, for the curious."""


class Model:
    """A linear model with random weights."""

    def __init__(self, features: int, seed: int) -> None:
        self.weights = np.random.default_rng(seed).normal(size=features)

    def predict(self, phenome: list[float]) -> float:
        """Return the model's answer to one set of features."""
        return float(self.weights @ np.asarray(phenome))


def load_model(features: int, seed: int) -> Model:
    """Load the model; it takes long, so once per runner is enough."""
    if LOADS in os.environ:
        with open(os.environ[LOADS], "a") as file:  # noqa: PTH123  # appends one short line
            file.write(f"{os.getpid()}\n")
    return Model(features, seed)


def evaluate(phenome: list[float]) -> float:
    """Return the fitness of one set of features."""
    return preloaded("model").predict(phenome)  # type: ignore[no-any-return]


def main(run: str | None) -> None:
    """Score a grid of phenomes and print the best."""
    phenomes = [[float(x), float(y), 1.0] for x in range(-10, 11) for y in range(-10, 11)]
    with Farm(run=run) as farm:
        farm.preload("model", load_model, 3, 2022)
        farm.wait_for_slots()  # as the listing waits: every runner has the model before work begins
        best = max(farm.map(evaluate, phenomes), key=lambda outcome: outcome.result())
    print(f"best of {len(phenomes)}: {best.result():.4f} ({best.key})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
