"""Means of correlated time series, with the error that the correlation leaves them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean and its standard error, in the unit of the series."""

    mean: float
    sem: float


def mean_of(series: ArrayLike) -> Mean:
    """Return the mean of a stationary time series with its standard error.

    The error is that of as many independent samples as the series is worth: its length over its
    statistical inefficiency (`statistical_inefficiency`).

    Parameters
    ----------
    series
        At least two samples, equally spaced in time.

    Examples
    --------
    >>> mean_of([1.0, 3.0, 1.0, 3.0])
    Mean(mean=2.0, sem=0.5773502691896257)
    """
    samples = np.asarray(series, dtype=np.float64)
    variance = float(samples.var(ddof=1))
    worth = len(samples) / statistical_inefficiency(samples)
    return Mean(mean=float(samples.mean()), sem=math.sqrt(variance / worth))


def statistical_inefficiency(samples: NDArray[np.float64]) -> float:
    """Return the number of samples of a stationary time series that are worth one, 1 at least.

    g = 1 + 2 sum_t (1 - t/N) C(t) over the normalized autocorrelation C up to where it first falls
    to 0, beyond which it is noise (Chodera, Swope, Pitera, Seok & Dill 2007, J. Chem. Theory
    Comput. 3, 26, section 5.2; Janke 2002, NIC Series 10, 423).

    Parameters
    ----------
    samples
        Equally spaced in time. A constant series has inefficiency 1.

    Examples
    --------
    Each value stands twice, so two samples are worth one.

    >>> values = np.random.default_rng(0).normal(size=20_000)
    >>> round(statistical_inefficiency(np.repeat(values, 2)), 1)
    2.0
    """
    count = len(samples)
    deviations = samples - samples.mean()
    variance = float(deviations @ deviations) / count
    if variance == 0:
        return 1.0
    total = 1.0
    for lag in range(1, count - 1):
        covariance = float(deviations[:-lag] @ deviations[lag:]) / (count - lag)
        if covariance <= 0:
            break
        total += 2 * (1 - lag / count) * covariance / variance
    return total


def combined(means: Sequence[Mean]) -> Mean:
    """Return the mean of independent means of equal length.

    Examples
    --------
    >>> combined([Mean(mean=1.0, sem=0.3), Mean(mean=2.0, sem=0.4)])
    Mean(mean=1.5, sem=0.25)
    """
    count = len(means)
    error = math.sqrt(sum(one.sem**2 for one in means)) / count
    return Mean(mean=sum(one.mean for one in means) / count, sem=error)
