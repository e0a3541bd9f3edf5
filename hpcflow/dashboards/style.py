"""One look for every figure: colours that mean the same everywhere, sizes that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models.annotations import Legend, Title
from bokeh.plotting import figure

from hpcflow.timing.attempt import Ended
from hpcflow.timing.ledger import Category

INK = "#1f2933"
FAINT = "#6b7885"
GRID = "#e4e8ec"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

HELD_TIME = "time in which slots were held [s]"
"""Label of the axis of held time."""

STAGES = ("#2f6fb3", "#2a9d8f", "#7b5ea7", "#b08900", "#4c8c2b", "#b0547f", "#5b7083", "#1b98b5")
"""Succeeded attempts, by stage in turn."""
OUTCOMES = {Ended.FAILED: "#c8372d", Ended.LOST: "#e8871e", Ended.RUNNING: "#9cc3e6"}
"""Other attempts, whatever their stage."""
CATEGORIES = {
    Category.STARTUP: "#b9c2cb",
    Category.PRELOAD: "#8fa3b5",
    Category.USEFUL: "#2f6fb3",
    Category.FAILED: "#c8372d",
    Category.LOST: "#e8871e",
    Category.DISPATCH: "#f2c14e",
    Category.STARVED: "#d8c3a5",
    Category.TAIL: "#a58fc2",
    Category.SHUTDOWN: "#d5dae0",
    Category.DEAD: "#5c5c5c",
}


def stage_colour(index: int) -> str:
    """Return the colour of the stage that opened as number `index`, from 0."""
    return STAGES[index % len(STAGES)]


def new_figure(title: str, *, axes: tuple[str, str], height: int, **options: Any) -> figure:
    """Return an empty figure in the common look.

    Parameters
    ----------
    title
        What it shows.
    axes
        Labels of x and y, with their units.
    height
        Height [pixels]; the width is that of the page.
    options
        Further options of `bokeh.plotting.figure`.
    """
    options.setdefault("sizing_mode", "stretch_width")
    options.setdefault("tools", "pan,box_zoom,xwheel_zoom,reset,save")
    plot = figure(height=height, x_axis_label=axes[0], y_axis_label=axes[1], **options)
    plot.add_layout(
        Title(text=title, text_font=FONT, text_font_size="15px", text_color=INK), "above"
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = GRID
    plot.background_fill_color = plot.border_fill_color = "white"
    for axis in plot.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = FAINT
        axis.minor_tick_line_color = None
    plot.grid.grid_line_color = GRID
    return plot


def put_legend(plot: figure) -> None:
    """Bring the figure's legend, where it has one, into the common look, above the plot."""
    legend = next((part for part in plot.center if isinstance(part, Legend)), None)
    if legend is None:
        return
    legend.label_text_font = FONT
    legend.label_text_font_size = "12px"
    legend.label_text_color = INK
    legend.border_line_color = None
    legend.background_fill_alpha = 0.8
    legend.glyph_height = legend.glyph_width = 14
    legend.orientation = "horizontal"
    legend.location = "left"
    legend.update(margin=4)
    plot.center.remove(legend)
    plot.above.insert(0, legend)  # next to the plot: the title stays on top


def tooltip(rows: Sequence[tuple[str, str]]) -> str:
    """Return a hover box: what is written, and the column that it comes from.

    Bokeh escapes columns that it fills in, so keys and stage names may hold anything.
    """
    lines = "".join(
        f'<div><span style="color:{FAINT}">{label}</span> @{{{column}}}</div>'
        for label, column in rows
    )
    return f'<div style="font:12px {FONT};color:{INK};max-width:420px">{lines}</div>'
