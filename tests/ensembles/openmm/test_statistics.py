from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hpcflow.ensembles.openmm.statistics import Mean, combined, mean_of, statistical_inefficiency


def _autoregressive(rho: float, shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Return series of variance 1 whose autocorrelation at a lag is `rho` to its power."""
    noise = np.random.default_rng(seed).normal(size=shape) * np.sqrt(1 - rho**2)
    series = np.empty(shape)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
    for step in range(1, shape[1]):
        series[:, step] = rho * series[:, step - 1] + noise[:, step]
    return series


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_inefficiency_of_an_autoregressive_series_is_its_theory(rho: float) -> None:
    [series] = _autoregressive(rho, (1, 100_000), seed=1)
    assert statistical_inefficiency(series) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)


def test_the_standard_error_of_correlated_series_is_the_spread_of_their_means() -> None:
    series = _autoregressive(0.8, (300, 1000), seed=2)
    means = [mean_of(one) for one in series]
    spread = np.std([one.mean for one in means])
    assert np.mean([one.sem for one in means]) == pytest.approx(spread, rel=0.1)


def test_three_standard_errors_hold_nearly_all_means() -> None:
    means = [mean_of(one) for one in _autoregressive(0.8, (300, 1000), seed=3)]
    assert np.mean([abs(one.mean) <= 3 * one.sem for one in means]) > 0.98


def test_a_constant_series_has_no_error() -> None:
    assert mean_of([2.5, 2.5, 2.5]) == Mean(mean=2.5, sem=0.0)


def test_an_alternating_series_is_worth_no_more_than_its_length() -> None:
    assert statistical_inefficiency(np.array([1.0, -1.0] * 50)) == 1.0


def test_four_equal_means_have_half_the_error() -> None:
    assert combined([Mean(mean=1.0, sem=0.5)] * 4) == Mean(mean=1.0, sem=0.25)
