"""The budget, and who is next within it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from hpcflow.ensembles.evolution.checks import check_callable, check_count
from hpcflow.ensembles.evolution.individual import Individual, Offspring
from hpcflow.ensembles.evolution.inserters import Insert
from hpcflow.ensembles.evolution.operators import Breed, Create
from hpcflow.errors import HpcflowError, RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an evolution is asked for."""

    create: Create
    breed: Breed
    insert: Insert
    fitness: Callable[[Any], Any] | None
    births: int
    initial: int
    population: int
    count_nonviable: bool

    def check(self) -> None:
        """Refuse values out of range.

        Raises
        ------
        RequestError
            If one is.
        """
        check_callable("create", self.create, form="create(draws), which returns a genome")
        check_callable("breed", self.breed, form="breed(population, draws), such as a `pipeline`")
        check_callable("insert", self.insert, form="insert(population, newcomer, draws)")
        if self.fitness is not None:
            check_callable("fitness", self.fitness, form="fitness(value), which returns a number")
        check_count("evolve", self.births, at_least=0, option="births")
        check_count("evolve", self.initial, at_least=1, option="initial")
        check_count("evolve", self.population, at_least=1, option="population")


class Nursery:
    """Makes one individual after the other, in a fixed order, until the budget is spent."""

    def __init__(self, settings: Settings, draws: Generator) -> None:
        self._settings = settings
        self._draws = draws
        self._initial_left = settings.initial
        self._births_left = settings.births
        self.initial = 0
        """Individuals of the initial population made so far."""
        self.births = 0
        """Offspring made so far."""

    def make(self, population: Sequence[Individual]) -> tuple[str, Offspring] | None:
        """Return the next individual and its key, or None where the budget is spent.

        Without a parent in the population, an offspring is drawn at random.

        Raises
        ------
        RequestError
            If the function that makes it raises, or breeds something else.
        """
        if self._initial_left:
            self._initial_left -= 1
            self.initial += 1
            key = f"initial-{self.initial}"
            return key, self._create(key)
        if self._births_left:
            self._births_left -= 1
            self.births += 1
            key = f"birth-{self.births}"
            return key, self._breed(key, population) if population else self._create(key)
        return None

    def make_up_for(self, key: str) -> None:
        """Allow another individual in place of one that is not viable."""
        if key.startswith("initial"):
            self._initial_left += 1
        else:
            self._births_left += 1

    def _create(self, key: str) -> Offspring:
        genome = ask(f"create {key}", self._settings.create, self._draws)
        return Offspring(genome=genome)

    def _breed(self, key: str, population: Sequence[Individual]) -> Offspring:
        made = ask(f"breed {key}", self._settings.breed, population, self._draws)
        if not isinstance(made, Offspring):
            raise RequestError(
                f"cannot breed {key}: the breeding function returned {made!r}, which is a"
                f" {type(made).__name__} and no Offspring. Return"
                " Offspring(genome=..., parents=...), or let the pipeline have `clone`."
            )
        return made


def ask(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user's, in the driver.

    Raises
    ------
    RequestError
        If it raises: says what it was called for. `hpcflow`'s own errors stay as they are.
    """
    try:
        return function(*arguments)
    except HpcflowError:
        raise
    except Exception as error:
        raise RequestError(
            f"cannot {what}: {getattr(function, '__qualname__', function)!s} raised"
            f" {type(error).__name__}: {error}. Mend it and start the run again: what its run"
            " directory holds is not evaluated again."
        ) from error
