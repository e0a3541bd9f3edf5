"""Evolutionary searches on a farm: steady state, and by generation for comparison."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hpcflow.core.task import AnyOutcome, Succeeded, task_seed
from hpcflow.ensembles.evolution.checks import check_count
from hpcflow.ensembles.evolution.individual import Individual, Offspring, evaluated, nonviable
from hpcflow.ensembles.evolution.inserters import Insert, insert_greedy
from hpcflow.ensembles.evolution.nursery import Nursery, Settings, ask
from hpcflow.ensembles.evolution.operators import Breed, Create
from hpcflow.errors import RequestError

if TYPE_CHECKING:
    from hpcflow.farm.farm import Farm
    from hpcflow.farm.flow import Stream

STAGE = "evolution"
"""Name of an evolution's stage in the journal, where none is asked for."""


def steady_state(
    farm: Farm,
    evaluate: Callable[[Any], Any],
    *,
    create: Create,
    breed: Breed,
    births: int,
    initial: int,
    population: int | None = None,
    insert: Insert = insert_greedy,
    in_flight: int | None = None,
    count_nonviable: bool = False,
    fitness: Callable[[Any], Any] | None = None,
    seed: int | None = None,
    stage: str = STAGE,
    retries: int = 0,
    time_limit_s: float | None = None,
    pool: str | None = None,
    speculate: bool = False,
) -> Evolution:
    """Begin an asynchronous steady-state evolution; return an iterator of evaluated individuals.

    The initial population is sent out whole. Whenever an individual comes back, it may enter the
    population, and an offspring of that population is sent out in its stead: no slot waits for
    the slowest of a generation. This is the simple asynchronous evolutionary algorithm that E. O.
    Scott and K. A. De Jong analyse in "Understanding Simple Asynchronous Evolutionary Algorithms"
    (FOGA XIII, 2015, pp. 85-98, doi:10.1145/2725494.2725509), and `steady_state` of LEAP. It may
    favour regions of the search space that are quick to evaluate.

    The budget is exact: `initial` + `births` evaluations where individuals that are not viable
    count, and as many viable individuals where they do not.

    Parameters
    ----------
    farm
        An open farm; the caller closes it. With a run directory the same call resumes: the
        population, the random state and the individuals in flight come back from the journal.
    evaluate
        Called with a genome, in a runner. Returns the fitness, or what `fitness` reads it from.
        The larger the better: return the negative of what is to be small. An individual is not
        viable, and never enters the population, where the evaluation fails or its fitness is no
        number.
    create
        `create(draws)` returns the genome of an individual of the initial population; `draws` is
        a `numpy.random.Generator`, the only source of random numbers for a run that can resume.
    breed
        `breed(population, draws)` returns an `Offspring`; see `pipeline`.
    births
        Number of offspring.
    initial
        Size of the initial population.
    population
        Most individuals in the population; `initial` if None.
    insert
        `insert(population, newcomer, draws)` lets a viable newcomer into a full population.
    in_flight
        Individuals that the farm has in hand while the budget lasts; `initial` if None. For slots
        that are never idle, twice their number; the fewer, the newer the parents. A resumed run
        needs the same value, whatever its slots.
    count_nonviable
        Whether an individual that is not viable counts toward the budget; otherwise another one is
        made in its place.
    fitness
        `fitness(value)` reads the fitness from what `evaluate` returned, in the driver.
    seed
        Seed of `draws`; derived from the farm's seed and `stage` if None.
    stage
        Name of the stage: one for each evolution on the farm.
    retries, time_limit_s, pool, speculate
        As in `Farm.stream`.

    Raises
    ------
    RequestError
        If a value is out of range, or a function of the user's raises in the driver: here or in
        the iteration. The run can then be resumed.
    """
    settings = Settings(
        create=create,
        breed=breed,
        insert=insert,
        fitness=fitness,
        births=births,
        initial=initial,
        population=initial if population is None else population,
        count_nonviable=count_nonviable,
    )
    if in_flight is not None:
        check_count("evolve", in_flight, at_least=1, option="in_flight")
    width = initial if in_flight is None else in_flight
    task = _TaskOptions(
        stage=stage, retries=retries, time_limit_s=time_limit_s, pool=pool, speculate=speculate
    )
    return _begin(farm, evaluate, settings, pace=_Steady(width), seed=seed, task=task)


def by_generation(
    farm: Farm,
    evaluate: Callable[[Any], Any],
    *,
    create: Create,
    breed: Breed,
    births: int,
    initial: int,
    population: int | None = None,
    insert: Insert = insert_greedy,
    count_nonviable: bool = False,
    fitness: Callable[[Any], Any] | None = None,
    seed: int | None = None,
    stage: str = STAGE,
    retries: int = 0,
    time_limit_s: float | None = None,
    pool: str | None = None,
    speculate: bool = False,
) -> Evolution:
    """Begin an evolution by generation; return an iterator of evaluated individuals.

    As many offspring as the population holds are bred from it; when all of them are back, they
    enter it one after the other in the order of their births, and the next generation is bred.
    Slots idle while the last of a generation run: this is what `steady_state` is to be compared
    with. What is not viable is made up for in the next generation. The result depends on the seed
    alone, and not on the order in which individuals come back.

    Parameters
    ----------
    farm, evaluate, create, breed, births, initial, population, insert, count_nonviable, fitness, \
seed, stage, retries, time_limit_s, pool, speculate
        As in `steady_state`.

    Raises
    ------
    RequestError
        As `steady_state`.
    """
    settings = Settings(
        create=create,
        breed=breed,
        insert=insert,
        fitness=fitness,
        births=births,
        initial=initial,
        population=initial if population is None else population,
        count_nonviable=count_nonviable,
    )
    task = _TaskOptions(
        stage=stage, retries=retries, time_limit_s=time_limit_s, pool=pool, speculate=speculate
    )
    pace = _Generations(settings.population)
    return _begin(farm, evaluate, settings, pace=pace, seed=seed, task=task)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskOptions:
    """How evaluations are asked for."""

    stage: str
    retries: int
    time_limit_s: float | None
    pool: str | None
    speculate: bool


def _begin(
    farm: Farm,
    evaluate: Callable[[Any], Any],
    settings: Settings,
    *,
    pace: _Pace,
    seed: int | None,
    task: _TaskOptions,
) -> Evolution:
    settings.check()
    if seed is None:
        seed = task_seed(farm.seed, task.stage, "breeding")
    check_count("evolve", seed, at_least=0, option="seed")
    stream = farm.stream(evaluate, **dataclasses.asdict(task))
    return Evolution(stream, settings, pace=pace, seed=seed)


class _Pace(Protocol):
    """When individuals enter the population, and when others are sent out."""

    def ready(self, number: int, individual: Individual, in_flight: int) -> list[Individual]:
        """Return who is to enter the population now that an individual is back.

        Parameters
        ----------
        number
            Which one of all individuals it is, in the order in which they were made.
        individual
            The individual.
        in_flight
            How many others are still out.
        """
        ...

    def room(self, in_flight: int) -> int:
        """Return how many more may be sent out."""
        ...


class _Steady:
    def __init__(self, width: int) -> None:
        self._width = width

    def ready(self, number: int, individual: Individual, in_flight: int) -> list[Individual]:
        return [individual]

    def room(self, in_flight: int) -> int:
        return self._width - in_flight


class _Generations:
    def __init__(self, size: int) -> None:
        self._size = size
        self._back: dict[int, Individual] = {}

    def ready(self, number: int, individual: Individual, in_flight: int) -> list[Individual]:
        self._back[number] = individual
        if in_flight:
            return []
        generation = [self._back[number] for number in sorted(self._back)]
        self._back.clear()
        return generation

    def room(self, in_flight: int) -> int:
        return 0 if in_flight else self._size


class Evolution(Iterator[Individual]):
    """An evolution under way: yields each individual as soon as it has been evaluated.

    Iterating is what drives it. Those that are not viable are yielded, too.
    """

    def __init__(self, stream: Stream, settings: Settings, *, pace: _Pace, seed: int) -> None:
        self._settings = settings
        self._pace = pace
        self._draws = np.random.default_rng(seed)
        self._nursery = Nursery(settings, self._draws)
        self._out: dict[str, tuple[int, Offspring]] = {}
        self._best: Individual | None = None
        self.population: list[Individual] = []
        """Viable individuals that have been let in and not been replaced."""
        self.evaluations = 0
        """Individuals that have come back from their evaluation."""
        self.nonviable = 0
        """Those among them that are not viable."""
        self._open = contextlib.ExitStack()
        self._stream = self._open.enter_context(stream)
        with self._resumable():
            self._send(settings.initial)

    @property
    def births(self) -> int:
        """Offspring made so far."""
        return self._nursery.births

    @property
    def best(self) -> Individual:
        """The fittest individual so far; the first of equals.

        Raises
        ------
        RequestError
            If none has been viable.
        """
        if self._best is None:
            raise RequestError(
                f"cannot name the best individual: none of {self.evaluations} evaluated ones is"
                " viable. Look at their `error`."
            )
        return self._best

    def run(self) -> Individual:
        """Go on until the budget is spent, and return the best individual."""
        for _ in self:
            pass
        return self.best

    def close(self) -> None:
        """End the evolution here, for good: what is in flight is given up."""
        self._stream.cancel()

    def __next__(self) -> Individual:
        with self._resumable():
            outcome = next(self._stream, None)
            if outcome is not None:
                return self._take(outcome)
        self._open.close()
        raise StopIteration

    @contextlib.contextmanager
    def _resumable(self) -> Iterator[None]:
        """Leave the stream as an error leaves it: given up for this session only."""
        try:
            yield
        except BaseException as error:
            self._open.__exit__(type(error), error, error.__traceback__)
            raise

    def _take(self, outcome: AnyOutcome) -> Individual:
        number, offspring = self._out.pop(outcome.key)
        individual = self._judge(outcome, offspring)
        self.evaluations += 1
        if not individual.viable:
            self.nonviable += 1
            self._make_up_for(individual)
        elif self._best is None or individual.fitness > self._best.fitness:
            self._best = individual
        for newcomer in self._pace.ready(number, individual, len(self._out)):
            self._insert(newcomer)
        self._send(self._pace.room(len(self._out)))
        return individual

    def _judge(self, outcome: AnyOutcome, offspring: Offspring) -> Individual:
        key = outcome.key
        if not isinstance(outcome, Succeeded):
            error = f"{outcome.cause}: {outcome.error.type}: {outcome.error.message}"
            return nonviable(key, offspring, error=error)
        value = fitness = ask(f"read the value of {key}", outcome.result)
        if self._settings.fitness is not None:
            fitness = ask(f"read the fitness of {key}", self._settings.fitness, value)
        return evaluated(key, offspring, value=value, fitness=fitness)

    def _make_up_for(self, individual: Individual) -> None:
        settings = self._settings
        if settings.count_nonviable:
            return
        if self._best is None and self.nonviable >= settings.initial + settings.births:
            raise RequestError(
                f"cannot make up for {self.nonviable} individuals that are not viable: no other"
                f" one has come back. The last error is {individual.error!r}: mend the evaluation"
                " and use a new run directory, or set count_nonviable=True."
            )
        self._nursery.make_up_for(individual.key)

    def _insert(self, newcomer: Individual) -> None:
        if not newcomer.viable:
            return
        if len(self.population) < self._settings.population:
            self.population.append(newcomer)
        else:
            insert = self._settings.insert
            ask(f"insert {newcomer.key}", insert, self.population, newcomer, self._draws)

    def _send(self, count: int) -> None:
        for _ in range(count):
            made = self._nursery.make(self.population)
            if made is None:
                return
            key, offspring = made
            self._stream.submit(offspring.genome, key)
            self._out[key] = (self._stream.submitted, offspring)
