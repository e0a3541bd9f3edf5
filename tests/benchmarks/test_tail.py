from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks.tail import WAYS, Run, bars, edges_for, histogram, main


def test_every_way_runs_sorted_and_unsorted_and_the_figures_are_written(tmp_path: Path) -> None:
    output, figure = tmp_path / "result.json", tmp_path / "figure.html"
    done = CliRunner().invoke(
        main,
        [
            *("--tasks", "6", "--slots", "2", "--mean-s", "0.01"),
            *("--output", str(output), "--figure", str(figure)),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    result = json.loads(output.read_text())
    cases = {f"{name}, {order}" for name in WAYS for order in ("sorted", "unsorted")}
    assert result["figures"].keys() == cases
    assert all(len(idle) == 2 for idle in result["idle after the last task [s]"].values())
    assert all(0 < each["share of the bound"] <= 1 for each in result["figures"].values())
    assert "4A: task durations" in figure.read_text()


def test_a_slot_idles_from_its_last_end_to_the_last_of_all_and_always_without_tasks() -> None:
    run = Run(slots=["a", "b", "a"], began=[0.0, 0.0, 1.0], ended=[1.0, 4.0, 3.0])
    assert run.idle_s(3) == [1.0, 0.0, 4.0]
    assert run.makespan_s == 4.0


def test_a_histogram_counts_every_value_once() -> None:
    values = [0.0, 0.1, 0.5, 4.0]
    edges = edges_for(values)
    assert sum(histogram(values, edges=edges)) == len(values)
    assert bars("idle", values, edges=edges).count("\n") == len(edges) - 1
