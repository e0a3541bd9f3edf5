"""The paper's three listings, as drivers that people can run."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpcflow import Farm
from hpcflow.core.event import SlotJoined, TasksSucceeded
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, run: Path) -> str:
    answer = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(run)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return answer.stdout


def runners_of(run: Path) -> list[SlotJoined]:
    return [e for e in read_journal(run / "journal.jsonl") if isinstance(e, SlotJoined)]


def test_listing_2_a_static_fan_out(tmp_path: Path) -> None:
    lines = run_example("static_fan_out.py", tmp_path / "run").splitlines()
    assert len(lines) == 100
    assert all(line.startswith("Finished processing") for line in lines)
    assert verify(RunDirectory(tmp_path / "run")).complete


def test_listing_1_a_steady_state_is_exact_and_resumes_as_it_was(tmp_path: Path) -> None:
    answer = run_example("steady_state.py", tmp_path / "run")
    found = re.match(r"400 evaluations, best fitness (\S+)", answer)
    assert found is not None
    values = {
        int(key.partition("-")[0]): value
        for event in read_journal(tmp_path / "run" / "journal.jsonl")
        if isinstance(event, TasksSucceeded)
        for key, value in zip(event.keys, event.values, strict=True)
    }
    best_of_first = min(values[position] for position in range(20))
    assert float(found[1]) == pytest.approx(min(values.values()), abs=1e-4)
    assert float(found[1]) < 0.8 * best_of_first, "the search has not improved on chance"
    verdict = verify(RunDirectory(tmp_path / "run"))
    assert verdict.complete
    assert (verdict.offered, verdict.succeeded) == (400, 400)
    assert run_example("steady_state.py", tmp_path / "run") == answer


def test_listing_5_a_model_is_loaded_once_in_each_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = tmp_path / "loads"
    monkeypatch.setenv("HPCFLOW_EXAMPLE_LOADS", str(loads))
    assert "best of 441: 37.2703" in run_example("preloaded_model.py", tmp_path / "run")
    assert sorted(map(int, loads.read_text().split())) == sorted(
        runner.pid for runner in runners_of(tmp_path / "run")
    )


def test_listing_5_loads_equal_runners_a_late_and_a_restarted_one_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, run = tmp_path / "loads", tmp_path / "run"
    monkeypatch.setenv("HPCFLOW_EXAMPLE_LOADS", str(loads))
    example: dict[str, Any] = runpy.run_path(str(EXAMPLES / "preloaded_model.py"))
    phenomes = [[float(x), 0.0, 1.0] for x in range(50)]
    with Farm(slots=2, workers=2, run=run) as farm:
        farm.preload("model", example["load_model"], 3, 2022)
        farm.wait_for_slots()
        scores = [o.result() for o in farm.map(example["evaluate"], phenomes, stage="early")]
        early = runners_of(run)
        restarted, late = early[0].pid, psutil.Process(early[1].pid).ppid()
        os.kill(restarted, signal.SIGKILL)  # its worker starts another runner
        os.kill(late, signal.SIGKILL)  # another worker comes, later, with a runner of its own
        deadline = time.monotonic() + 60
        while len(runners_of(run)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        again = [o.result() for o in farm.map(example["evaluate"], phenomes, stage="late")]
    assert sorted(again) == sorted(scores)
    pids = [joined.pid for joined in runners_of(run)]
    assert len(set(pids)) == 4
    assert sorted(map(int, loads.read_text().split())) == sorted(pids)
