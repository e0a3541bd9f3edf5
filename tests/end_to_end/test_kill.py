"""`kill -9` of the driver at any moment: nothing recorded is lost, doubled or run again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

TASKS = 300
KILLS = 20

moments = random.Random(2022)

DRIVER = f"""
import json, os, sys, time
from pathlib import Path
from hpcflow import Farm, current_task

run, notes = sys.argv[1:]

def work(number):
    task = current_task()
    with open(notes, "a") as file:          # one short line: appended whole
        file.write(task.key + "\\n")
    time.sleep(0.03)
    return {{"square": number * number, "seed": task.seed}}

with Farm(slots=2, run=run, seed=7) as farm:
    values = {{o.key: o.result() for o in farm.map(work, range({TASKS}))}}
print(json.dumps(values, sort_keys=True))
"""


def start(driver: Path, run: Path, notes: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(driver), str(run), str(notes)], stdout=subprocess.PIPE, text=True
    )


def recorded_keys(run: Path) -> set[str]:
    """Keys with an outcome in the journal, read with nothing but JSON."""
    keys: set[str] = set()
    journal = run / "journal.jsonl"
    if journal.exists():
        for line in journal.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                event = json.loads(line)["e"]
                if event["event"] == "tasks-succeeded":
                    keys.update(event["keys"])
    return keys


def lines_of(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def wait_for_the_end_of(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive, f"still running: {alive}"


def kill_at(process: subprocess.Popen[str], run: Path, *, goal: int) -> None:
    """Kill a driver soon after `goal` outcomes are recorded; at once if they are already."""
    family = psutil.Process(process.pid)
    at_once = len(recorded_keys(run)) >= goal
    deadline = time.monotonic() + 60
    while len(recorded_keys(run)) < goal:
        assert process.poll() is None, "the driver ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(moments.random() * (1.0 if at_once else 0.03))
    children = family.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for_the_end_of(children)


def test_a_driver_killed_twenty_times_loses_and_repeats_nothing(tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    calm = start(driver, tmp_path / "calm", tmp_path / "calm-notes")
    expected, _ = calm.communicate(timeout=120)
    assert calm.returncode == 0

    run, notes = tmp_path / "run", tmp_path / "notes"
    for _ in range(KILLS):
        had, before = recorded_keys(run), len(lines_of(notes))
        kill_at(start(driver, run, notes), run, goal=len(had) + moments.randrange(8))
        assert not had.intersection(lines_of(notes)[before:]), "a recorded task ran again"

    had, before = recorded_keys(run), len(lines_of(notes))
    process = start(driver, run, notes)
    values, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(values) == json.loads(expected)
    assert not had.intersection(lines_of(notes)[before:])
    verdict = verify(RunDirectory.existing(run))
    assert verdict.complete, verdict.problems
    assert (verdict.offered, verdict.succeeded) == (TASKS, TASKS)
    assert 1 <= verdict.sessions <= KILLS + 1, "a kill may come before the session is recorded"
