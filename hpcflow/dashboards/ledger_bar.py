"""The ledger as one stacked bar and as a table."""

from __future__ import annotations

from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure

from hpcflow.dashboards import page, text
from hpcflow.dashboards.style import CATEGORIES, new_figure, tooltip
from hpcflow.timing.ledger import Category, Ledger

MEANING = {
    Category.STARTUP: "the slot's runner was not up yet",
    Category.PRELOAD: "the slot loaded what tasks share",
    Category.USEFUL: "an attempt ran that succeeded",
    Category.FAILED: "an attempt ran that failed",
    Category.LOST: "an attempt ran that was cut off",
    Category.DISPATCH: "the slot was free although a task waited",
    Category.STARVED: "the slot was free, no task waited, and more came later",
    Category.TAIL: "the slot was free while others ran the last tasks",
    Category.SHUTDOWN: "all work was over, and the slot still held",
    Category.DEAD: "the slot was lost and had not come back",
}


def ledger_bar(ledger: Ledger) -> figure:
    """Return one bar: the allocation, cut into its categories."""
    plot = new_figure(
        "Where the slots' time went",
        axes=("share of the allocation [%]", ""),
        height=130,
        x_range=(0, 100),
        y_range=(-0.5, 0.5),
        tools="",
    )
    plot.yaxis.visible = False
    plot.grid.grid_line_color = None
    left = 0.0
    names, begins, ends, colours, words = [], [], [], [], []
    for category, colour in CATEGORIES.items():
        share = 100 * ledger.share(category)
        if not share:
            continue
        names.append(category.value)
        begins.append(left)
        ends.append(left := left + share)
        colours.append(colour)
        words.append(f"{share:.2f} % ({text.duration(ledger.seconds[category])})")
    source = ColumnDataSource(
        {"name": names, "left": begins, "right": ends, "colour": colours, "words": words}
    )
    bars = plot.hbar(
        y=0,
        left="left",
        right="right",
        height=0.9,
        source=source,
        fill_color="colour",
        line_color="white",
        line_width=0.5,
    )
    rows = [("", "name"), ("", "words")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=tooltip(rows), point_policy="follow_mouse"))
    return plot


def ledger_table(ledger: Ledger) -> str:
    """Return every category, its slot seconds, its share, and what it means."""
    rows = [
        (
            page.swatch(CATEGORIES[category], category.value),
            f"{ledger.seconds[category]:,.1f}",
            text.percent(ledger.share(category)),
            page.escape(MEANING[category]),
        )
        for category in CATEGORIES
    ]
    whole = ("<b>allocation</b>", f"<b>{ledger.allocation_s:,.1f}</b>", "<b>100 %</b>", "")
    heads = ("category", "slot seconds", "share", "meaning: at that time")
    return page.table(heads, [*rows, whole], right=(1, 2))
