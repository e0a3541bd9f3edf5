"""How long tasks took."""

from __future__ import annotations

import numpy as np
from bokeh.models import DataRange1d
from bokeh.plotting import figure

from hpcflow.dashboards import text
from hpcflow.dashboards.gather import ENDINGS, Attempts, Floats
from hpcflow.dashboards.histogram import Layer, Words, stack
from hpcflow.dashboards.style import new_figure, stage_colour
from hpcflow.timing.attempt import Ended

MOST_BINS = 60
FEWEST_BINS = 10
WIDE = 30.0
"""Durations that differ by more than this factor are shown on a logarithmic axis."""


def durations(attempts: Attempts) -> figure | None:
    """Return a histogram of the durations of succeeded attempts, or None where there are none."""
    length = attempts.end - attempts.start
    chosen = (attempts.ended == ENDINGS.index(Ended.SUCCEEDED)) & (length > 0)
    length, stage = length[chosen], attempts.stage[chosen]
    if not len(length):
        return None
    edges, wide = _edges(length)
    plot = new_figure(
        "How long tasks took",
        axes=("duration of a succeeded attempt [s]", "tasks"),
        height=300,
        x_axis_type="log" if wide else "linear",
        y_range=DataRange1d(start=0),
    )
    layers = [
        Layer(
            name=name,
            colour=stage_colour(index),
            heights=np.histogram(length[stage == index], edges)[0].astype(np.float64),
        )
        for index, name in enumerate(attempts.stages)
    ]
    words = Words(
        name="stage",
        bin="took",
        height="tasks",
        bin_words=lambda low, high: f"{text.duration(low)} to {text.duration(high)}",
        height_words=lambda height: text.count(int(height)),
    )
    stack(plot, edges, layers=layers, words=words)
    return plot


def _edges(length: Floats) -> tuple[Floats, bool]:
    """Return the edges of the bins, and whether they are spaced logarithmically."""
    low, high = float(length.min()), float(length.max())
    bins = int(np.clip(2 * np.sqrt(len(length)), FEWEST_BINS, MOST_BINS))
    if high > WIDE * low:
        return np.geomspace(low, high * (1 + 1e-9), bins + 1), True
    if high == low:
        low, high = 0.9 * low, 1.1 * high
    return np.linspace(low, high, bins + 1), False
