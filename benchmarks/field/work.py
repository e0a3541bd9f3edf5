"""What the tasks of the comparisons do."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

SIGMA = 1.0
"""Of the logarithm of durations: the longest of 600 is some fifteen times the mean."""


def noop(_: object) -> None:
    """Do nothing."""


def microsecond(number: int) -> int:
    """Compute for about a microsecond."""
    for _ in range(20):
        number += 1
    return number


def nap(duration_s: float) -> None:
    """Sleep, as a task does that waits for a device; the cores stay free [s]."""
    time.sleep(duration_s)


def echo(blob: bytes) -> bytes:
    """Return what came."""
    return blob


def skewed_s(count: int, *, mean_s: float, seed: int = 2022) -> list[float]:
    """Return log-normal durations of which few are long, and that have exactly that mean [s]."""
    draw = random.Random(seed)
    raw = [draw.lognormvariate(0.0, SIGMA) for _ in range(count)]
    scale = mean_s * count / math.fsum(raw)
    return [scale * each for each in raw]


def bound_s(durations_s: Sequence[float], *, slots: int) -> float:
    """Return how long these tasks take on so many slots at the very least [s]."""
    return max(math.fsum(durations_s) / slots, *durations_s)
