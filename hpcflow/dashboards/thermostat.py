"""Each temperature's mean kinetic temperature against its thermostat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.annotations import Span, TeeHead, Whisker
from bokeh.plotting import figure

from hpcflow.dashboards.molecular import Estimate, SegmentFold
from hpcflow.dashboards.style import INK, STAGES, new_figure, tooltip

ERRORS = 3
"""Standard errors that the bars span on each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one thermostat held."""

    temperature_k: float
    segments: int
    ns: float
    mean_k: float
    sem_k: float

    @property
    def off_k(self) -> float:
        """Kinetic temperature minus the thermostat's [K]."""
        return self.mean_k - self.temperature_k

    @property
    def within(self) -> bool:
        """Whether the thermostat lies within three standard errors of the mean."""
        return abs(self.off_k) <= ERRORS * self.sem_k


def readings_of(segments: SegmentFold) -> list[Reading]:
    """Return a reading for each temperature, from low to high.

    Segments of one temperature are of equal length and independent of each other: their mean is
    plain, and their errors add in quadrature.
    """
    return [
        reading
        for temperature in segments.temperatures
        if (reading := _reading(segments, temperature)) is not None
    ]


def _reading(segments: SegmentFold, temperature_k: float) -> Reading | None:
    here = segments.at(temperature_k)
    estimates: list[Estimate] = [
        one.kinetic_temperature_k for one in here if one.kinetic_temperature_k is not None
    ]
    if not estimates:
        return None
    return Reading(
        temperature_k=temperature_k,
        segments=len(here),
        ns=math.fsum(one.ns for one in here),
        mean_k=math.fsum(one.mean for one in estimates) / len(estimates),
        sem_k=math.hypot(*(one.sem for one in estimates)) / len(estimates),
    )


def thermostats(readings: Sequence[Reading]) -> figure:
    """Return deviations from the thermostats with bars of three standard errors."""
    reach = 1.15 * max(abs(one.off_k) + ERRORS * one.sem_k for one in readings) or 1.0
    plot = new_figure(
        "Kinetic temperature against the thermostats",
        axes=("thermostat [K]", "kinetic minus thermostat [K]"),
        height=480,
        y_range=(-reach, reach),
        tools="box_zoom,reset,save",
    )
    source = ColumnDataSource(
        {
            "t": [one.temperature_k for one in readings],
            "off": [one.off_k for one in readings],
            "low": [one.off_k - ERRORS * one.sem_k for one in readings],
            "high": [one.off_k + ERRORS * one.sem_k for one in readings],
            "words": [f"{one.mean_k:.2f} ± {one.sem_k:.2f} K" for one in readings],
            "name": [f"{one.temperature_k:g} K" for one in readings],
            "ns": [f"{one.ns:.3g} ns in {one.segments} segments" for one in readings],
        }
    )
    zero = Span(location=0, dimension="width", line_color=INK, line_dash="dashed", line_width=1)
    plot.add_layout(zero)
    whisker = Whisker(
        base="t",
        lower="low",
        upper="high",
        source=source,
        line_color=STAGES[0],
        upper_head=TeeHead(size=8, line_color=STAGES[0]),
        lower_head=TeeHead(size=8, line_color=STAGES[0]),
    )
    plot.add_layout(whisker)
    dots = plot.scatter(x="t", y="off", size=8, color=STAGES[0], source=source)
    rows = [("thermostat", "name"), ("kinetic", "words"), ("", "ns")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltip(rows)))
    return plot
