"""What hpcflow aims at, and how far it is: one line for each promise of speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.field.crowd import DRIVER, SCHEDULER, case
from benchmarks.field.entrants import DASK, EXECUTOR, HPCFLOW, HPCFLOW_OFF, PARSL, POOL, RAY
from benchmarks.field.pairs import MILLISECOND, OFF, ON, PLAIN, RAW, TLS
from benchmarks.field.tables import text
from benchmarks.field.workloads import (
    BLOBS,
    GROWTH,
    MICRO,
    NAPS,
    NOOP,
    SORTED,
    STREAMS,
    TUNED_MICRO,
    UNSORTED,
)
from benchmarks.measuring import Figures

Cases = Mapping[str, Figures]
RIVALS = (PARSL, RAY, DASK)
"""Those whose best is the measure of streams."""
REPORTED = "reported"
"""The verdict on what has no aim."""
FLAT = 1.3
"""A cost grows with the workers if it is this many times what it was with few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A figure, and what it should be."""

    workload: str
    measure: str
    found: float | None
    """None where what it takes was not measured."""
    least: float | None = None
    most: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the aim is met, in a word."""
        if self.found is None:
            return "not measured"
        if self.least is None and self.most is None:
            return REPORTED
        met = (self.least is None or self.found >= self.least) and (
            self.most is None or self.found <= self.most
        )
        return "met" if met else "MISSED"

    def row(self) -> tuple[str, str, str, str, str]:
        """Return workload, measure, figure, aim and verdict, as text."""
        found = "" if self.found is None else text(self.found)
        wanted = f"≥ {text(self.least)}" if self.least is not None else ""
        if self.most is not None:
            wanted = f"≤ {text(self.most)}"
        return self.workload, self.measure, found, wanted, self.verdict

    def record(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "workload": self.workload,
            "measure": self.measure,
            "found": self.found,
            "least": self.least,
            "most": self.most,
            "verdict": self.verdict,
        }


def aims(cases: Cases) -> list[Aim]:
    """Return every aim, held against medians by case and figure."""
    return [*_bulk(cases), *_naps(cases), *_streams(cases), *_blobs(cases), *_costs(cases)]


def _bulk(cases: Cases) -> list[Aim]:
    noops = "50,000 no-op tasks, as completed"
    million = "1,000,000 tasks of a microsecond"
    against = {DASK: 400.0, PARSL: 200.0, RAY: 150.0, POOL: 4.0}
    return [
        *(
            Aim(
                workload=noops,
                measure=f"times {name}{', chunk 1' if name == POOL else ''}",
                found=_ratio(cases, (HPCFLOW, NOOP), (name, NOOP)),
                least=least,
            )
            for name, least in against.items()
        ),
        Aim(workload=noops, measure="tasks a second", found=_at(cases, HPCFLOW, NOOP), least=3e5),
        Aim(
            workload=million, measure="tasks a second", found=_at(cases, HPCFLOW, MICRO), least=3e5
        ),
        Aim(
            workload=million,
            measure=f"journal off, times {POOL} with its best chunk",
            found=_ratio(cases, (HPCFLOW_OFF, MICRO), (POOL, TUNED_MICRO)),
            least=0.5,
        ),
        Aim(
            workload=million,
            measure="growth of the driver's memory [MiB]",
            found=_at(cases, HPCFLOW, GROWTH),
            most=100.0,
        ),
    ]


def _naps(cases: Cases) -> list[Aim]:
    skewed = "600 log-normal tasks, mean 20 ms"
    bound = "share of max(sum / slots, longest)"
    return [
        *(
            Aim(
                workload=f"{1000 * each_s:g} ms tasks",
                measure="share of the ideal",
                found=_at(cases, HPCFLOW, NAPS[each_s]),
                least=least,
            )
            for each_s, least in {0.001: 0.88, 0.01: 0.96}.items()
        ),
        *(
            Aim(
                workload=f"{skewed}, {order}",
                measure=bound,
                found=_at(cases, HPCFLOW, figure),
                least=0.97,
            )
            for order, figure in {"longest first": SORTED, "unsorted": UNSORTED}.items()
        ),
    ]


def _streams(cases: Cases) -> list[Aim]:
    found: list[Aim] = []
    for width, rivals, executor in ((2, 3.0, 0.4), (8, 8.0, 1.0), (64, 60.0, 5.0)):
        figure, workload = STREAMS[width], f"stream of no-op tasks, {width} in flight"
        best = max(
            (name for name in RIVALS if _at(cases, name, figure) is not None),
            key=lambda name: cases[name][figure],
            default=RIVALS[0],
        )
        found.append(
            Aim(
                workload=workload,
                measure=f"times the best of Parsl, Ray and plain Dask ({best})",
                found=_ratio(cases, (HPCFLOW, figure), (best, figure)),
                least=rivals,
            )
        )
        found.append(
            Aim(
                workload=workload,
                measure=f"times {EXECUTOR}",
                found=_ratio(cases, (HPCFLOW, figure), (EXECUTOR, figure)),
                least=executor,
            )
        )
    return found


def _blobs(cases: Cases) -> list[Aim]:
    return [
        Aim(
            workload="1 MiB in and out, one at a time",
            measure=f"{which}, times a raw pickled round trip",
            found=_ratio(cases, (which, BLOBS), (RAW, BLOBS)),
            least=0.5,
        )
        for which in (ON, OFF)
    ]


def _costs(cases: Cases) -> list[Aim]:
    found = [
        Aim(
            workload="1 ms tasks",
            measure="journal on, times journal off",
            found=_ratio(cases, (ON, MILLISECOND), (OFF, MILLISECOND)),
            least=0.97,
        )
    ]
    found += [
        Aim(
            workload=name,
            measure="TLS on, times TLS off",
            found=_ratio(cases, (TLS, name), (PLAIN, name)),
        )
        for name in (NOOP, *STREAMS.values())
    ]
    crowds = sorted(
        int(name.split()[1].replace(",", "")) for name in cases if name.startswith("lanes,")
    )
    for transport in ("lanes", "tasks"):
        for workers in crowds:
            found += [
                Aim(
                    workload=f"{workers:,} simulated workers, {transport}",
                    measure=figure,
                    found=_at(cases, case(transport, workers), figure),
                )
                for figure in (SCHEDULER, DRIVER)
            ]
    if len(crowds) > 1:
        few, many = case("lanes", crowds[0]), case("lanes", crowds[-1])
        found.append(
            Aim(
                workload=f"{crowds[-1]:,} simulated workers, lanes",
                measure=f"driver's CPU per task, times that with {crowds[0]:,}",
                found=_ratio(cases, (many, DRIVER), (few, DRIVER)),
                most=FLAT,
            )
        )
    return found


def _at(cases: Cases, name: str, figure: str) -> float | None:
    return cases.get(name, {}).get(figure)


def _ratio(cases: Cases, above: tuple[str, str], below: tuple[str, str]) -> float | None:
    over, under = _at(cases, *above), _at(cases, *below)
    return None if over is None or not under else over / under
