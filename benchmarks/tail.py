"""Idle slots at the end of skewed work: Figures 4 and 5 of Coletti, Davidson & Sedova (2022).

    python -m benchmarks.tail [--quick] [--output FILE] [--figure FILE.html]
    python -m benchmarks.tail --markdown FILE [--into PAGE]...

3,000 tasks of which few are long (the paper's Figure 4A; here sleeps, scaled down in time), given
sorted by duration, longest first, and unsorted, go through

- plain Dask as it was then: every task is assigned to a worker at once (`worker-saturation: inf`),
  and work stealing is on (the paper's Figure 4) or off (Figure 5);
- plain Dask as it is now: tasks wait at the scheduler, and stealing is on;
- hpcflow, journal on, which is told the durations as costs where the tasks are sorted.

Shown are the distributions of the time that slots idle after their last task, as in the paper's
Figures 4B and 5, and the makespan against its bound, max(sum of durations / slots, longest).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.field.tables import publish, publishing, show, table
from benchmarks.field.work import bound_s, skewed_s
from benchmarks.measuring import Figures, machine, write
from hpcflow import Farm

if TYPE_CHECKING:
    import bokeh.plotting

BINS = 8
"""Bars of a histogram."""
_BLOCK = "#"
_WIDEST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The tasks, and the slots that share them."""

    durations_s: Sequence[float]
    slots: int

    @property
    def bound_s(self) -> float:
        """The shortest makespan that there could be [s]."""
        return bound_s(self.durations_s, slots=self.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where each task ran, and when. Times are seconds since the epoch."""

    slots: Sequence[str]
    began: Sequence[float]
    ended: Sequence[float]

    @property
    def makespan_s(self) -> float:
        """Time from the first start to the last end [s]."""
        return max(self.ended) - min(self.began)

    def idle_s(self, slots: int) -> list[float]:
        """Return how long each slot idles after its last task [s]; all the time if it has none."""
        last: dict[str, float] = {}
        for slot, ended in zip(self.slots, self.ended, strict=True):
            last[slot] = max(ended, last.get(slot, 0.0))
        end = max(self.ended)
        return [end - each for each in last.values()] + [self.makespan_s] * (slots - len(last))


Way = Callable[[Sequence[float], bool], Run]
"""Runs tasks of these durations [s]; the other argument says whether they come sorted."""


def sleep(duration_s: float) -> tuple[float, float]:
    """Sleep, and return when that began and ended [s since the epoch]."""
    began = time.time()
    time.sleep(duration_s)
    return began, time.time()


def sleep_on_worker(duration_s: float) -> tuple[str, float, float]:
    """Sleep on a Dask worker, and return which that is as well."""
    from distributed import get_worker

    return (get_worker().address, *sleep(duration_s))


# -- the ways to run them


@contextlib.contextmanager
def farm(work: Work) -> Iterator[Way]:
    """Open a farm with one worker for all slots."""
    with (
        tempfile.TemporaryDirectory() as base,
        Farm(slots=work.slots, run=Path(base) / "run") as opened,
    ):
        opened.wait_for_slots()

        def run(durations: Sequence[float], ordered: bool) -> Run:
            outcomes = (
                opened.map(sleep, durations, order="longest-first", cost=durations)
                if ordered
                else opened.map(sleep, durations)
            )
            ended = list(outcomes)
            return Run(
                slots=[outcome.slot for outcome in ended],
                began=[outcome.result()[0] for outcome in ended],
                ended=[outcome.result()[1] for outcome in ended],
            )

        yield run


@contextlib.contextmanager
def dask(work: Work, *, stealing: bool, saturation: float) -> Iterator[Way]:
    """Start plain Dask, a worker process of one thread for each slot."""
    import dask
    from distributed import Client, LocalCluster, as_completed

    settings = {
        "distributed.scheduler.work-stealing": stealing,
        "distributed.scheduler.worker-saturation": saturation,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=work.slots,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(work.slots)

        def run(durations: Sequence[float], _: bool) -> Run:
            futures = client.map(sleep_on_worker, durations, pure=False)
            results = [result for _, result in as_completed(futures, with_results=True)]
            slots, began, ended = zip(*results, strict=True)
            return Run(slots=slots, began=began, ended=ended)

        yield run


WAYS: Mapping[str, Callable[[Work], contextlib.AbstractContextManager[Way]]] = {
    "Dask as in 2022, stealing on": lambda work: dask(work, stealing=True, saturation=float("inf")),
    "Dask as in 2022, stealing off": lambda work: dask(
        work, stealing=False, saturation=float("inf")
    ),
    "Dask today, stealing on": lambda work: dask(work, stealing=True, saturation=1.1),
    "hpcflow": farm,
}


def measure(work: Work) -> dict[str, Run]:
    """Return a run of each way with the tasks sorted, and one with them unsorted."""
    found: dict[str, Run] = {}
    orders = {
        "sorted": sorted(work.durations_s, reverse=True),
        "unsorted": list(work.durations_s),
    }
    for name, start in WAYS.items():
        with start(work) as way:
            way([0.0] * 2 * work.slots, False)
            for order, durations in orders.items():
                print(f"{name}, {order}", file=sys.stderr, flush=True)
                found[f"{name}, {order}"] = way(durations, order == "sorted")
    return found


def figures(run: Run, work: Work) -> Figures:
    """Return what a run comes to."""
    idle = run.idle_s(work.slots)
    return {
        "makespan [s]": run.makespan_s,
        "share of the bound": work.bound_s / run.makespan_s,
        "idle at the end, mean [s]": statistics.fmean(idle),
        "median [s]": statistics.median(idle),
        "longest [s]": max(idle),
    }


# -- what is shown


def histogram(values: Sequence[float], *, edges: Sequence[float]) -> list[int]:
    """Count values between edges, the last one included."""
    counts = [0] * (len(edges) - 1)
    width = edges[1] - edges[0]
    for value in values:
        counts[min(int((value - edges[0]) / width), len(counts) - 1)] += 1
    return counts


def edges_for(values: Sequence[float]) -> list[float]:
    """Return the edges of bins from 0 to the largest value."""
    top = max(*values, 1e-3)
    return [top * number / BINS for number in range(BINS + 1)]


def bars(title: str, values: Sequence[float], *, edges: Sequence[float]) -> str:
    """Return a histogram of idle times as text."""
    counts = histogram(values, edges=edges)
    scale = _WIDEST / max(counts)
    lines = [
        f"  {low:7.2f} to {high:7.2f} s {count:5d} {_BLOCK * round(scale * count)}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    return "\n".join([title, *lines])


def page(runs: Mapping[str, Run], work: Work) -> str:
    """Return Figures 4 and 5 as a page that needs nothing else."""
    from bokeh.embed import file_html
    from bokeh.layouts import gridplot
    from bokeh.resources import INLINE

    idle = {name: run.idle_s(work.slots) for name, run in runs.items()}
    edges = edges_for([value for values in idle.values() for value in values])
    plots = [_plot("4A: task durations", work.durations_s, edges=edges_for(work.durations_s))]
    for name in WAYS:
        both = {order: idle[f"{name}, {order}"] for order in ("sorted", "unsorted")}
        plots.append(_plot_both(name, both, edges=edges))
    grid = gridplot(plots, ncols=2)  # type: ignore[arg-type]  # a list of plots is one
    return file_html(grid, INLINE, title="Idle slots at the end of skewed work")


def _plot(title: str, values: Sequence[float], *, edges: Sequence[float]) -> bokeh.plotting.figure:
    from bokeh.plotting import figure

    plot = figure(title=title, width=460, height=280, x_axis_label="duration [s]")
    plot.quad(
        top=histogram(values, edges=edges), bottom=0, left=edges[:-1], right=edges[1:], alpha=0.6
    )
    return plot


def _plot_both(
    title: str, values: Mapping[str, Sequence[float]], *, edges: Sequence[float]
) -> bokeh.plotting.figure:
    from bokeh.plotting import figure

    label = "idle after the last task [s]"
    plot = figure(title=title, width=460, height=280, x_axis_label=label)
    for (order, idle), colour in zip(values.items(), ("green", "blue"), strict=True):
        plot.quad(
            top=histogram(idle, edges=edges),
            bottom=0,
            left=edges[:-1],
            right=edges[1:],
            color=colour,
            alpha=0.4,
            legend_label=order,
        )
    return plot


# -- the command


@click.command()
@click.option("--tasks", type=click.IntRange(min=1), help="Number of tasks.  [default: 3,000]")
@click.option("--slots", type=click.IntRange(min=1), help="Number of slots.  [default: 45]")
@click.option("--mean-s", type=float, help="Mean duration of a task [s].  [default: 0.25]")
@click.option("--quick", is_flag=True, help="600 tasks of 0.15 s on 12 slots.")
@click.option("--figure", type=click.Path(path_type=Path), help="Write the figures as HTML.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@publishing
def main(
    *,
    tasks: int | None,
    slots: int | None,
    mean_s: float | None,
    quick: bool,
    figure: Path | None,
    output: Path | None,
    earlier: Path | None,
    pages: Sequence[Path],
) -> None:
    """Show how slots idle at the end of skewed work."""
    if earlier is not None:
        cases = json.loads(earlier.read_text())["figures"]
        publish({"tail": table(cases, first="case")}, pages)
        return
    count, width, mean = (600, 12, 0.15) if quick else (3000, 45, 0.25)
    work = Work(durations_s=skewed_s(tasks or count, mean_s=mean_s or mean), slots=slots or width)
    compare(work, figure=figure, output=output)


def compare(work: Work, *, figure: Path | None, output: Path | None) -> None:
    """Measure, print and write what comes of it."""
    here = machine()
    runs = measure(work)
    idle = {name: run.idle_s(work.slots) for name, run in runs.items()}
    edges = edges_for([value for values in idle.values() for value in values])
    for name, values in idle.items():
        print(bars(f"{name}: slots by the time that they idle at the end", values, edges=edges))
    found = {name: figures(run, work) for name, run in runs.items()}
    title = (
        f"{len(work.durations_s):,} tasks on {work.slots} slots; the bound is {work.bound_s:.2f} s"
    )
    show(title, table(found, first="case"))
    if figure is not None:
        figure.write_text(page(runs, work))
    write(
        output,
        {
            "machine": here,
            "tasks": len(work.durations_s),
            "slots": work.slots,
            "bound [s]": work.bound_s,
            "figures": found,
            "idle after the last task [s]": idle,
        },
    )


if __name__ == "__main__":
    main()
