"""One round of one package, in a process of its own: what it leaves behind ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click

from benchmarks.field.effort import EFFORTS, EffortName
from benchmarks.field.entrants import CANDIDATES, command
from benchmarks.field.pairs import pairs
from benchmarks.field.workloads import blobs, figures, micro
from benchmarks.peer import ROOT, environment_with

PAIRS = "pairs"
"""Stands for hpcflow against itself, in place of a package's name."""
LONGEST_S = 1800.0
"""A round that takes longer is given up [s]."""


class MeasureError(Exception):
    """A package cannot be measured here."""


def measure(name: str, effort: EffortName) -> dict[str, dict[str, float]]:
    """Return the figures of one round by case; there is one case, but for pairs.

    Raises
    ------
    MeasureError
        If the process fails: says what it has said.
    """
    variables = dict(CANDIDATES[name].environment) if name in CANDIDATES else {}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as base:
        output, log = Path(base) / "figures.json", Path(base) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*command(name), "-m", __name__, name, "--effort", effort, "--output", output],
                cwd=ROOT,
                env=environment_with({"PATH": path, "PYTHONPATH": str(ROOT), **variables}),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            try:
                code = process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                code = process.wait()
        if not output.exists():
            text = log.read_text(errors="replace").strip()[-2000:]
            raise MeasureError(f"{name} ended with {code} before its figures were there: {text}")
        found: dict[str, dict[str, float]] = json.loads(output.read_text())
        return found


def run(name: str, effort_name: EffortName) -> Mapping[str, dict[str, float]]:
    """Measure in this process."""
    effort = EFFORTS[effort_name]
    if name == PAIRS:
        return pairs(effort)
    candidate = CANDIDATES[name]
    began = time.perf_counter()
    with candidate.open() as entrant:
        found = {"start [s]": time.perf_counter() - began, **dict(figures(entrant, effort))}
        if candidate.micro:
            found |= dict(micro(entrant, effort))
        if candidate.blobs:
            found |= dict(blobs(entrant, effort))
    return {name: found}


@click.command()
@click.argument("name", type=click.Choice([*CANDIDATES, PAIRS]))
@click.option("--effort", type=click.Choice(list(EFFORTS)), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(name: str, effort: EffortName, output: Path) -> None:
    """Measure one package."""
    output.write_text(json.dumps(run(name, effort)))


if __name__ == "__main__":
    main()
