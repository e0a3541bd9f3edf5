"""What an evolution refuses before anything is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hpcflow import Farm, RequestError
from hpcflow.ensembles.evolution import (
    by_generation,
    clone,
    create_bits,
    mutate_bits,
    pipeline,
    select_random,
    steady_state,
)


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=1) as farm:
        yield farm


def asked(**options: Any) -> dict[str, Any]:
    return {
        "create": create_bits(4),
        "breed": pipeline(select_random, clone, mutate_bits()),
        "births": 2,
        "initial": 2,
        **options,
    }


@pytest.mark.parametrize("search", [steady_state, by_generation])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"births": -1}, "cannot evolve with births = -1: .* 0 or more. Correct `births`"),
        ({"births": 2.5}, r"births = 2\.5: it is a whole number"),
        ({"births": True}, "births = True"),
        ({"initial": 0}, "cannot evolve with initial = 0: .* 1 or more. Correct `initial`"),
        ({"population": 0}, "cannot evolve with population = 0: .* Correct `population`"),
        ({"population": "12"}, "cannot evolve with population = '12'"),
        ({"insert": "greedy"}, "cannot use 'greedy' as `insert`: a str is not callable. Give a"),
        ({"breed": None}, "cannot use None as `breed`: .* such as a `pipeline`"),
        ({"create": [0, 1]}, r"cannot use \[0, 1\] as `create`: .* returns a genome"),
        ({"fitness": "energy"}, "cannot use 'energy' as `fitness`"),
        ({"seed": -3}, "cannot evolve with seed = -3"),
        ({"seed": 1.5}, r"cannot evolve with seed = 1\.5"),
        ({"retries": -1}, "cannot retry -1 times"),
        ({"time_limit_s": 0}, "cannot limit tasks to 0 s"),
        ({"pool": "gpu"}, "cannot run tasks in pool 'gpu': the farm has cpu slots"),
        ({"stage": "a/b"}, "cannot name a task 'a/b'"),
    ],
)
def test_bad_input_is_refused_by_name(
    farm: Farm, search: Any, options: dict[str, Any], message: str
) -> None:
    offered = farm.statistics().offered
    with pytest.raises(RequestError, match=message):
        search(farm, sum, **asked(**options))
    assert farm.statistics().offered == offered, "something was started"


@pytest.mark.parametrize("width", [0, -1, 1.5])
def test_somebody_must_be_in_flight(farm: Farm, width: Any) -> None:
    with pytest.raises(RequestError, match=r"evolve with in_flight = .* Correct `in_flight`\."):
        steady_state(farm, sum, **asked(in_flight=width))


def test_an_unknown_option_is_named(farm: Farm) -> None:
    with pytest.raises(TypeError, match="'brths'"):
        steady_state(farm, sum, **asked(brths=3))


def test_what_cannot_be_called_cannot_evaluate(farm: Farm) -> None:
    with pytest.raises(RequestError, match="cannot run 'sum': a str is not callable"):
        steady_state(farm, "sum", **asked())  # type: ignore[arg-type]


def test_two_evolutions_of_a_farm_have_names_of_their_own(farm: Farm) -> None:
    steady_state(farm, sum, **asked(stage="twin")).run()
    with pytest.raises(RequestError, match="cannot open stage 'twin' twice"):
        steady_state(farm, sum, **asked(stage="twin"))
