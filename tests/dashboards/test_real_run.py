"""Every way of looking at a run, on one that a real farm made."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from hpcflow import Farm
from hpcflow.cli import main
from hpcflow.dashboards.source import Phase, RunSource
from hpcflow.dashboards.status import Status, status_of
from hpcflow.journal.reader import read_journal
from hpcflow.timing.ledger import Category, ledger_of

TASK_S = 0.05


def work(number: int) -> int:
    time.sleep(TASK_S)
    if number == 3:
        raise ValueError("three is right out")
    if number == 5:
        os._exit(4)
    return number * number


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Status]:
    """A finished run, and its status while it was live."""
    path = tmp_path_factory.mktemp("real") / "run"
    with Farm(slots=2, run=path) as farm:
        outcomes = farm.map(work, range(20), stage="square", key=str, retries=1)
        next(outcomes)
        live = status_of(RunSource.open(path), now=time.time())
        assert sum(1 for _ in outcomes) == 19
    return path, live


def test_a_live_run_names_its_driver_and_its_slots(run: tuple[Path, Status]) -> None:
    _, live = run
    assert live.phase == Phase.RUNNING
    assert live.driver is not None
    assert live.driver.pid == os.getpid()
    assert 1 <= len(live.slots) <= 2
    assert live.tasks.expected == 20


def test_a_finished_run_has_every_outcome_and_both_retries(run: tuple[Path, Status]) -> None:
    source = RunSource.open(run[0])
    state = source.state
    assert source.phase is Phase.FINISHED
    assert (state.succeeded, state.failed, state.retried) == (18, 2, 2)
    assert (state.running, state.waiting) == (0, 0)


def test_the_ledger_holds_what_the_tasks_took(run: tuple[Path, Status]) -> None:
    ledger = ledger_of(read_journal(RunSource.open(run[0]).directory.journal))
    assert sum(ledger.seconds.values()) == pytest.approx(ledger.allocation_s)
    assert ledger.allocation_s == pytest.approx(2 * ledger.held_s)
    assert ledger.attempts == 22
    assert 18 * TASK_S <= ledger.seconds[Category.USEFUL] <= ledger.allocation_s
    assert ledger.seconds[Category.FAILED] >= 4 * TASK_S
    assert ledger.seconds[Category.DEAD] > 0
    assert ledger.seconds[Category.LOST] == 0


def test_timings_and_report_are_made_from_it(run: tuple[Path, Status]) -> None:
    path, _ = run
    for command in ("timings", "report", "status", "watch"):
        result = CliRunner().invoke(main, [command, str(path)])
        assert result.exit_code == 0, result.output
    frame = pd.read_csv(path / "timings.csv")
    assert len(frame) == 22
    assert frame.groupby("key").size().to_dict()[3] == 2
    assert set(frame.cause.dropna()) == {"exception", "exit"}
    good = frame[frame.ended == "succeeded"]
    stamps = ["created", "submitted", "started", "finished", "collected"]
    assert all((good[a] <= good[b] + 1e-3).all() for a, b in itertools.pairwise(stamps))
