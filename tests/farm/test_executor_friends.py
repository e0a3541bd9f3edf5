"""Other people's libraries, unchanged, on a farm's executor."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcflow import Farm
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

EXAMPLE = Path(__file__).parents[2] / "examples" / "executor.py"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(slots=2) as farm:
        yield farm


def test_scipy_evaluates_a_generation_on_the_farm_and_finds_the_same(farm: Farm) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="extra `examples`")

    def search(**options: Any) -> Any:
        return optimize.differential_evolution(
            optimize.rosen, [(-2, 2)] * 2, updating="deferred", maxiter=10, seed=3, **options
        )

    with farm.executor() as executor:
        on_the_farm = search(workers=executor.map)
    alone = search()
    assert on_the_farm.nfev == alone.nfev
    np.testing.assert_array_equal(on_the_farm.x, alone.x)


def log_probability(x: Any) -> float:
    return float(-0.5 * np.sum(x**2))


def test_emcee_samples_on_the_farm_and_draws_the_same(farm: Farm) -> None:
    emcee = pytest.importorskip("emcee", reason="extra `examples`")

    def sample(pool: Any) -> Any:
        sampler = emcee.EnsembleSampler(8, 2, log_probability, pool=pool)
        start = emcee.State(
            np.random.default_rng(1).normal(size=(8, 2)),
            random_state=np.random.RandomState(2).get_state(),
        )
        sampler.run_mcmc(start, 20)
        return sampler.get_chain()

    with farm.executor() as executor:
        on_the_farm = sample(executor)
    np.testing.assert_array_equal(on_the_farm, sample(None))


def test_the_example_runs_and_continues_from_its_journal(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="extra `examples`")
    answers = [
        subprocess.run(
            [sys.executable, str(EXAMPLE), str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
        ).stdout
        for _ in range(2)
    ]
    found = re.fullmatch(r"(\d\.\d{4}) at \((.*), (.*)\) after (\d+) evaluations\n", answers[0])
    assert found is not None
    assert answers[1] == answers[0]
    verdict = verify(RunDirectory.existing(tmp_path / "run"))
    assert verdict.complete
    assert verdict.succeeded == int(found[4])
    assert float(found[1]) < 1.0
