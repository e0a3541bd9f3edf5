"""How many tasks ended and how many slots were busy, over held time."""

from __future__ import annotations

import numpy as np
from bokeh.models import DataRange1d
from bokeh.plotting import figure

from hpcflow.dashboards import text
from hpcflow.dashboards.gather import ENDINGS, Floats, Gathered
from hpcflow.dashboards.histogram import Layer, Words, stack
from hpcflow.dashboards.style import HELD_TIME, INK, OUTCOMES, STAGES, new_figure, put_legend
from hpcflow.dashboards.timeline import left_border
from hpcflow.timing.attempt import Ended

MOST_BINS = 120
FEWEST_BINS = 12
ATTEMPTS_A_BIN = 4
"""At least so many on average, where that leaves enough bins."""


def throughput(gathered: Gathered) -> figure | None:
    """Return the rate at which attempts ended, or None where none did."""
    attempts, whole = gathered.attempts, gathered.held_s
    if not len(attempts) or whole <= 0:
        return None
    bins = int(np.clip(len(attempts) // ATTEMPTS_A_BIN, FEWEST_BINS, MOST_BINS))
    edges = np.linspace(0, whole, bins + 1)
    plot = new_figure(
        "Attempts that ended, over time",
        axes=(HELD_TIME, "attempts per second"),
        height=260,
        x_range=(0, whole),
        y_range=DataRange1d(start=0),
    )

    def rates(*endings: Ended) -> Floats:
        chosen = np.isin(attempts.ended, [ENDINGS.index(ended) for ended in endings])
        rate: Floats = np.histogram(attempts.end[chosen], edges)[0] * (bins / whole)
        return rate

    bad = rates(Ended.FAILED, Ended.LOST)
    layers = [
        Layer(name="succeeded", colour=STAGES[0], heights=rates(Ended.SUCCEEDED)),
        Layer(name="failed or lost", colour=OUTCOMES[Ended.FAILED], heights=bad),
    ]
    words = Words(
        name="",
        bin="after",
        height="rate",
        bin_words=lambda low, _: text.duration(low),
        height_words=text.rate,
    )
    stack(plot, edges, layers=layers, words=words)
    return plot


def busy_slots(gathered: Gathered) -> figure | None:
    """Return how many slots ran an attempt, or None where none did."""
    attempts, whole = gathered.attempts, gathered.held_s
    if not len(attempts) or whole <= 0:
        return None
    edges = np.linspace(0, whole, 4 * MOST_BINS + 1)
    busy = _covered(attempts.start, attempts.end, edges) / (edges[1] - edges[0])
    plot = new_figure(
        "Busy slots",
        axes=(HELD_TIME, "slots that ran a task"),
        height=220,
        min_border_left=left_border(attempts),
        x_range=(0, whole),
        y_range=DataRange1d(start=0),
    )
    plot.varea(
        x=np.repeat(edges, 2)[1:-1],
        y1=np.zeros(2 * len(busy)),
        y2=np.repeat(busy, 2),
        fill_color=STAGES[0],
        fill_alpha=0.75,
        legend_label="busy",
    )
    plot.line(
        x=[0, whole],
        y=[gathered.ledger.slots] * 2,
        line_color=INK,
        line_dash="dashed",
        legend_label="held",
    )
    put_legend(plot)
    return plot


def _covered(start: Floats, end: Floats, edges: Floats) -> Floats:
    """Return the time of intervals that falls between each pair of edges."""
    times = np.concatenate((start, end))
    steps = np.concatenate((np.ones(len(start)), -np.ones(len(end))))
    order = np.argsort(times, kind="stable")
    times, level = times[order], np.cumsum(steps[order])
    before = np.concatenate(([0.0], np.cumsum(level[:-1] * np.diff(times))))
    at = np.searchsorted(times, edges, side="right") - 1
    reached = np.where(at < 0, 0.0, before[at] + level[at] * (edges - times[at]))
    return np.diff(reached)
