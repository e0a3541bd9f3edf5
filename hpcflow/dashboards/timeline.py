"""The slots' timeline: every attempt a bar on its slot, merged where they are too many to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.annotations import Label, Span
from bokeh.plotting import figure

from hpcflow.dashboards import text
from hpcflow.dashboards.gather import ENDINGS, Attempts, Gathered
from hpcflow.dashboards.style import (
    FAINT,
    FONT,
    HELD_TIME,
    OUTCOMES,
    new_figure,
    put_legend,
    stage_colour,
    tooltip,
)
from hpcflow.timing.attempt import Ended

MOST_BARS = 30_000
"""More would make a browser slow."""
MOST_ROWS = 3_000
"""Slots drawn; of more, every nth is."""
MOST_OUTLINED = 2_000
"""Bars that are set apart by white lines."""
LONGEST_NAME = 28
"""Characters of a slot's name on the axis."""
MOST_NAMES = 40
"""Slots named on the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What is drawn: each bar stands for one or more attempts on one slot with one outcome."""

    slot: npt.NDArray[np.int32]
    stage: npt.NDArray[np.int32]
    ended: npt.NDArray[np.int32]
    start: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    """Attempts in the bar."""
    busy: npt.NDArray[np.float64]
    """Their time together [s]."""
    first: npt.NDArray[np.int64]
    """Index of the first of them."""
    gap: float
    """Attempts closer together than this were merged [s]; 0 where none were."""

    def __len__(self) -> int:
        return len(self.slot)


def bars_of(attempts: Attempts, *, most: int = MOST_BARS) -> Bars:
    """Return bars for attempts, at most `most` unless slots and outcomes alone are more.

    Attempts are merged only with the next one of the same slot, stage and outcome, so none that
    failed hides behind others. The gap that is merged over starts at a 4,000th of the whole time
    and doubles until the bars are few enough.
    """
    order = np.lexsort((attempts.start, attempts.ended, attempts.stage, attempts.slot))
    whole = float(attempts.end.max(initial=0.0))
    gap = 0.0
    bars = _merge(attempts, order, gap=gap)
    while len(bars) > most and gap < whole:
        gap = max(2 * gap, whole / 4000)
        bars = _merge(attempts, order, gap=gap)
    return bars


def _merge(attempts: Attempts, order: npt.NDArray[np.int64], *, gap: float) -> Bars:
    slot, stage, ended = (
        column[order] for column in (attempts.slot, attempts.stage, attempts.ended)
    )
    start, end = attempts.start[order], attempts.end[order]
    length = end - start
    apart = np.ones(len(order), dtype=bool)
    if gap:
        same = (slot[1:] == slot[:-1]) & (stage[1:] == stage[:-1]) & (ended[1:] == ended[:-1])
        near = start[1:] - end[:-1] <= gap
        short = np.minimum(length[1:], length[:-1]) <= gap
        apart[1:] = ~(same & near & short)
    heads = np.flatnonzero(apart)
    if not len(heads):
        last = busy = np.zeros(0)
    else:
        last, busy = np.maximum.reduceat(end, heads), np.add.reduceat(length, heads)
    return Bars(
        slot=slot[heads],
        stage=stage[heads],
        ended=ended[heads],
        start=start[heads],
        end=last,
        count=np.diff(heads, append=len(order)),
        busy=busy,
        first=order[heads],
        gap=gap,
    )


def timeline(gathered: Gathered) -> tuple[figure, str]:
    """Return the figure, and what a reader has to know about it."""
    attempts = gathered.attempts
    step = -(-len(attempts.slots) // MOST_ROWS) or 1
    bars = bars_of(attempts)
    rows = -(-len(attempts.slots) // step)
    plot = new_figure(
        "What each slot ran",
        axes=(HELD_TIME, "slot"),
        height=int(np.clip(150 + 26 * rows, 220, 720)),
        x_range=(0, gathered.held_s or 1.0),
        y_range=(rows - 0.4, -0.6 if len(gathered.sessions) == 1 else -0.6 - 0.045 * rows - 0.3),
        min_border_left=left_border(attempts),
    )
    plot.ygrid.grid_line_color = None
    renderers = _draw(plot, attempts, bars=bars, step=step)
    plot.add_tools(HoverTool(renderers=renderers, tooltips=_hover(), point_policy="follow_mouse"))
    _name_rows(plot, attempts, step)
    _mark_sessions(plot, gathered)
    put_legend(plot)
    return plot, _caption(attempts, bars, step)


def left_border(attempts: Attempts) -> int:
    """Return the room that the names of slots take [pixels], so that time axes can be aligned."""
    if len(attempts.slots) > MOST_NAMES:
        return 70
    return 60 + 7 * min(LONGEST_NAME, max(map(len, attempts.slots), default=0))


def _draw(plot: figure, attempts: Attempts, *, bars: Bars, step: int) -> list[Any]:
    drawn = bars.slot % step == 0
    renderers = []
    for ended in (Ended.SUCCEEDED, Ended.RUNNING, Ended.FAILED, Ended.LOST):
        for index, stage in enumerate(attempts.stages):
            code = ENDINGS.index(ended)
            here = np.flatnonzero(drawn & (bars.ended == code) & (bars.stage == index))
            if not len(here):
                continue
            colour = OUTCOMES.get(ended, stage_colour(index))
            renderers.append(
                plot.hbar(
                    y="row",
                    left="start",
                    right="end",
                    height=0.78,
                    source=_source(attempts, bars, here=here, step=step),
                    fill_color=colour,
                    line_color="white" if len(bars) < MOST_OUTLINED else colour,
                    line_width=0.5,
                    legend_label=stage if ended is Ended.SUCCEEDED else ended.value,
                )
            )
    return renderers


def _source(
    attempts: Attempts, bars: Bars, *, here: npt.NDArray[np.int64], step: int
) -> ColumnDataSource:
    single = bars.count[here] == 1
    what = [
        attempts.keys[first] if one else f"{text.count(int(count))} tasks"
        for first, count, one in zip(bars.first[here], bars.count[here], single, strict=True)
    ]
    return ColumnDataSource(
        {
            "row": bars.slot[here] // step,
            "start": bars.start[here],
            "end": bars.end[here],
            "what": what,
            "stage": [attempts.stages[index] for index in bars.stage[here]],
            "ended": [ENDINGS[index].value for index in bars.ended[here]],
            "slot": [attempts.slots[index] for index in bars.slot[here]],
            "ran": [text.duration(seconds) for seconds in bars.busy[here]],
            "number": [
                str(attempts.number[first]) if one else "several"
                for first, one in zip(bars.first[here], single, strict=True)
            ],
        }
    )


def _hover() -> str:
    return tooltip(
        [
            ("task", "what"),
            ("stage", "stage"),
            ("ended", "ended"),
            ("attempt", "number"),
            ("ran for", "ran"),
            ("slot", "slot"),
        ]
    )


def _name_rows(plot: figure, attempts: Attempts, step: int) -> None:
    names = attempts.slots[::step]
    plot.yaxis.minor_tick_line_color = None
    if len(names) <= MOST_NAMES:
        plot.yaxis.ticker = list(range(len(names)))
        plot.yaxis.major_label_overrides = {
            index: text.one_line(name, LONGEST_NAME) for index, name in enumerate(names)
        }
    else:
        plot.yaxis.axis_label = f"{text.count(len(names))} slots"
        plot.yaxis.major_label_text_font_size = "0px"
        plot.yaxis.major_tick_line_color = None


def _mark_sessions(plot: figure, gathered: Gathered) -> None:
    if len(gathered.sessions) == 1:
        return
    for session in gathered.sessions:
        plot.add_layout(
            Span(
                location=session.begin,
                dimension="height",
                line_color=FAINT,
                line_dash="dashed",
                line_width=1,
            )
        )
        plot.add_layout(
            Label(
                x=session.begin,
                y=-0.6,
                x_offset=4,
                y_offset=2,
                text=f"session {session.number}",
                text_font=FONT,
                text_font_size="11px",
                text_color=FAINT,
            )
        )


def _caption(attempts: Attempts, bars: Bars, step: int) -> str:
    parts = ["Time between sessions, in which nothing is held, is left out."]
    if bars.gap:
        parts.append(
            f"{text.count(len(attempts))} attempts are drawn as {text.count(len(bars))} bars:"
            f" short ones of the same stage and outcome on one slot are drawn as one where less"
            f" than {text.duration(bars.gap)} lies between them."
        )
    else:
        parts.append(f"Each of the {text.count(len(attempts))} bars is one attempt.")
    if step > 1:
        parts.append(
            f"One slot of every {step} is drawn, of {text.count(len(attempts.slots))} in all."
        )
    return " ".join(parts)
