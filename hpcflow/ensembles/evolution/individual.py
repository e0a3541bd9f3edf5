"""An individual before and after its evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Offspring:
    """What breeding makes: a genome that has not been evaluated."""

    genome: Any
    """Whatever `evaluate` takes."""
    parents: tuple[str, ...] = ()
    """Keys of the individuals that it descends from; none where it was drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Individual:
    """What has been evaluated."""

    key: str
    """Its name, and its task's key in the journal: `initial-3`, or `birth-17`."""
    genome: Any
    parents: tuple[str, ...]
    fitness: float
    """The larger the better; NaN where it is not viable."""
    value: Any = None
    """All that `evaluate` returned."""
    error: str | None = None
    """Why it is not viable."""

    @property
    def viable(self) -> bool:
        """Whether its evaluation gave a fitness."""
        return not math.isnan(self.fitness)


def evaluated(key: str, offspring: Offspring, *, value: Any, fitness: Any) -> Individual:
    """Return an individual whose evaluation came to an end; not viable without a number.

    Infinities are numbers: an individual may be the worst possible.
    """
    if isinstance(fitness, Real) and not math.isnan(fitness):
        return Individual(
            key=key,
            genome=offspring.genome,
            parents=offspring.parents,
            fitness=float(fitness),
            value=value,
        )
    error = f"its fitness is {fitness!r}, and no number"
    return nonviable(key, offspring, value=value, error=error)


def nonviable(key: str, offspring: Offspring, *, error: str, value: Any = None) -> Individual:
    """Return an individual whose evaluation failed."""
    return Individual(
        key=key,
        genome=offspring.genome,
        parents=offspring.parents,
        fitness=math.nan,
        value=value,
        error=error,
    )
