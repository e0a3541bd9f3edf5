from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.field.aims import aims
from benchmarks.field.child import PAIRS, MeasureError, measure
from benchmarks.field.crowd import DRIVER, SCHEDULER, case, crowd
from benchmarks.field.effort import EFFORTS
from benchmarks.field.entrants import CANDIDATES, DASK, EXECUTOR, HPCFLOW, POOL, why_absent
from benchmarks.field.pairs import MILLISECOND, OFF, ON, RAW
from benchmarks.field.work import bound_s, skewed_s
from benchmarks.field.workloads import BLOBS, MICRO, NOOP, STREAMS, TUNED_MICRO
from benchmarks.peers import main

OTHERS = [name for name in CANDIDATES if name not in (HPCFLOW, POOL)]


def test_the_command_measures_and_prints_its_tables_again_from_the_result(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    asked = ["--tiny", "--only", HPCFLOW, "--only", POOL, "--output", str(output)]
    done = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(output.read_text())
    assert result["medians"][HPCFLOW][NOOP] > 0
    assert result["medians"][HPCFLOW][MICRO] > 0
    assert result["medians"][POOL][TUNED_MICRO] > 0
    assert result["versions"][HPCFLOW]
    assert {aim["verdict"] for aim in result["aims"]} <= {"met", "MISSED", "not measured"}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- aims -->\nold\n<!-- /aims -->\nafter\n")
    told = ["--markdown", str(output), "--into", str(page)]
    CliRunner().invoke(main, told, catch_exceptions=False)
    assert page.read_text().startswith("before\n<!-- aims -->\n\n| workload |")
    assert page.read_text().endswith("|\n\n<!-- /aims -->\nafter\n")
    again = CliRunner().invoke(main, ["--markdown", str(output)], catch_exceptions=False)
    assert "| workload | measure | hpcflow | aim | verdict |" in again.output
    assert "| 50,000 no-op tasks, as completed | times plain Dask |  | ≥ 400 | not measured |" in (
        again.output
    )


@pytest.mark.parametrize("name", OTHERS)
def test_each_package_that_is_installed_runs_every_workload(name: str) -> None:
    if (reason := why_absent(name)) is not None:
        pytest.skip(reason)
    found = measure(name, "tiny")[name]
    assert found[NOOP] > 0
    streams = [found[figure] for figure in STREAMS.values() if figure in found]
    assert len(streams) == (0 if name == "joblib" else len(STREAMS))
    assert all(rate > 0 for rate in streams)


def test_a_package_that_fails_says_why() -> None:
    with pytest.raises(MeasureError, match="ended with 2 before its figures were there"):
        measure("no such package", "tiny")


def test_ways_to_run_hpcflow_take_turns() -> None:
    found = measure(PAIRS, "tiny")
    assert all(found[name][BLOBS] > 0 for name in (ON, OFF, RAW))
    assert found[ON][MILLISECOND] > 0


def test_light_workers_answer_by_either_transport() -> None:
    found = dict(crowd(EFFORTS["tiny"]))
    assert set(found) == {case(how, n) for how in ("lanes", "tasks") for n in (1, 2)}
    assert all({SCHEDULER, DRIVER} < figures.keys() for figures in found.values())


def test_an_aim_is_met_or_missed_or_was_not_measured() -> None:
    width = STREAMS[2]
    cases = {
        HPCFLOW: {NOOP: 310_000.0, width: 300.0},
        DASK: {NOOP: 1000.0, width: 100.0},
        EXECUTOR: {width: 1000.0},
    }
    verdicts = {(aim.workload, aim.measure): aim.verdict for aim in aims(cases)}
    noops, stream = "50,000 no-op tasks, as completed", "stream of no-op tasks, 2 in flight"
    assert verdicts[noops, "tasks a second"] == "met"
    assert verdicts[noops, "times plain Dask"] == "MISSED"
    assert verdicts[noops, "times Ray"] == "not measured"
    assert verdicts[stream, "times the best of Parsl, Ray and plain Dask (plain Dask)"] == "met"
    assert verdicts[stream, "times ProcessPoolExecutor"] == "MISSED"


def test_skewed_durations_are_the_same_every_time_and_have_their_mean() -> None:
    durations = skewed_s(600, mean_s=0.02)
    assert durations == skewed_s(600, mean_s=0.02)
    assert sum(durations) == pytest.approx(12.0)
    assert bound_s(durations, slots=2) == pytest.approx(6.0)
    assert bound_s([1.0, 5.0], slots=2) == 5.0
