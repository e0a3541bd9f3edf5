"""Bars over bins, several kinds on top of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure

from hpcflow.dashboards.gather import Floats
from hpcflow.dashboards.style import put_legend, tooltip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of bars."""

    name: str
    colour: str
    heights: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a hover box puts a bar."""

    name: str
    bin: str
    height: str
    bin_words: Callable[[float, float], str]
    height_words: Callable[[float], str]


def stack(plot: figure, edges: Floats, *, layers: Sequence[Layer], words: Words) -> None:
    """Draw layers on top of each other, with hover boxes and a legend; empty ones are left out.

    Parameters
    ----------
    plot
        Where to draw.
    edges
        Of the bins: one more than each layer has heights.
    layers
        From the bottom up.
    words
        For hover boxes.
    """
    bottom = np.zeros(len(edges) - 1)
    for layer in layers:
        if not layer.heights.any():
            continue
        top = bottom + layer.heights
        source = ColumnDataSource(
            {
                "left": edges[:-1],
                "right": edges[1:],
                "bottom": bottom,
                "top": top,
                "name": [layer.name] * len(top),
                "bin": [words.bin_words(low, high) for low, high in pairwise(edges)],
                "height": [words.height_words(float(height)) for height in layer.heights],
            }
        )
        plot.quad(
            left="left",
            right="right",
            bottom="bottom",
            top="top",
            source=source,
            fill_color=layer.colour,
            line_color="white",
            line_width=0.5,
            legend_label=layer.name,
        )
        bottom = top
    rows = [(words.name, "name"), (words.bin, "bin"), (words.height, "height")]
    plot.add_tools(HoverTool(tooltips=tooltip(rows)))
    put_legend(plot)
