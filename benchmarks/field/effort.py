"""How much of the work a comparison does: a fast package does all, a slow one as time allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EffortName = Literal["full", "quick", "tiny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Numbers of tasks, and the time that one figure of one package may take."""

    budget_s: float
    """Time for a figure [s]: a package that cannot do all in it does fewer tasks."""
    probe: int
    """Tasks by which a package's pace is found."""
    noop: int
    micro: int
    nap: int
    """Tasks of 1 ms."""
    stream: int
    skewed: int
    blobs: int
    pairs: int
    """Times that tasks of 1 ms run with the journal, and without."""
    crowds: tuple[int, int]
    """Simulated workers: few and many."""
    crowd_tasks: int
    rest_s: float
    """For how long processes are watched at rest [s]."""


EFFORTS: dict[EffortName, Effort] = {
    "full": Effort(
        budget_s=5.0,
        probe=256,
        noop=50_000,
        micro=1_000_000,
        nap=5000,
        stream=5000,
        skewed=600,
        blobs=2000,
        pairs=5,
        crowds=(100, 1000),
        crowd_tasks=100_000,
        rest_s=10.0,
    ),
    "quick": Effort(
        budget_s=0.7,
        probe=64,
        noop=50_000,
        micro=200_000,
        nap=1000,
        stream=2000,
        skewed=100,
        blobs=200,
        pairs=2,
        crowds=(32, 128),
        crowd_tasks=3000,
        rest_s=3.0,
    ),
    "tiny": Effort(
        budget_s=0.05,
        probe=8,
        noop=100,
        micro=100,
        nap=20,
        stream=20,
        skewed=10,
        blobs=2,
        pairs=1,
        crowds=(1, 2),
        crowd_tasks=20,
        rest_s=0.1,
    ),
}
