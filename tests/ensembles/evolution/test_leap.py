"""LEAP's steady state on a farm's client: its budget, its failures, and a journal beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcflow import Farm
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

pytest.importorskip("leap_ec", reason="extra `examples`")

from leap_ec import Representation, ops
from leap_ec.binary_rep.initializers import create_binary_sequence
from leap_ec.binary_rep.ops import mutate_bitflip
from leap_ec.binary_rep.problems import MaxOnes
from leap_ec.distrib import DistributedIndividual, asynchronous


class FailsOnce(MaxOnes):  # type: ignore[misc]  # leap_ec has no types
    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.marker = marker

    def evaluate(self, phenome: Any) -> Any:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return super().evaluate(phenome)
        raise ValueError("not viable")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leap") / "run"


@pytest.fixture(scope="module")
def farm(run: Path) -> Iterator[Farm]:
    with Farm(slots=2, workers=2, run=run) as farm:
        farm.wait_for_slots()
        yield farm


def evaluate(farm: Farm, problem: Any, **options: Any) -> list[Any]:
    """Run LEAP's steady state with 2 + 4 individuals, and return all that it evaluates."""
    evaluated: list[Any] = []
    asynchronous.steady_state(
        client=farm.client,
        max_births=4,
        init_pop_size=2,
        pop_size=2,
        representation=Representation(
            initialize=create_binary_sequence(8), individual_cls=DistributedIndividual
        ),
        problem=problem,
        offspring_pipeline=[
            ops.random_selection,
            ops.clone,
            mutate_bitflip(expected_num_mutations=1),
            ops.pool(size=1),
        ],
        evaluated_probe=evaluated.append,
        **options,
    )
    return evaluated


def test_its_budget_is_the_one_that_ours_is_modelled_on(farm: Farm) -> None:
    assert len(evaluate(farm, MaxOnes())) == 6


@pytest.mark.parametrize(("counted", "evaluations"), [(True, 6), (False, 7)])
def test_its_individuals_that_are_not_viable_come_back_from_workers(
    farm: Farm, tmp_path: Path, *, counted: bool, evaluations: int
) -> None:
    problem = FailsOnce(tmp_path / "failed")
    individuals = evaluate(farm, problem, count_nonviable=counted)
    assert len(individuals) == evaluations
    (failed,) = (individual for individual in individuals if not individual.is_viable)
    assert math.isnan(failed.fitness)


def test_the_farms_own_tasks_run_beside_it(farm: Farm, run: Path) -> None:
    outcomes = farm.map(abs, [-1, -2, -3, -4], stage="beside")
    assert len(evaluate(farm, MaxOnes())) == 6
    assert sorted(outcome.result() for outcome in outcomes) == [1, 2, 3, 4]
    assert verify(RunDirectory.existing(run)).succeeded == 4
