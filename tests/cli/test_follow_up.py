"""`hpcflow follow-up`: which batch jobs of a chain are needed, by what the run's record says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcflow.batch.record import JobRecord, read_record, write_record
from hpcflow.cli import main
from hpcflow.core.event import FINISHED, OUT_OF_TIME
from hpcflow.errors import FarmError, TaskError
from hpcflow.journal.directory import RunDirectory
from tests.journals import Script, write_run

FIRST, SECOND = "1000001.17", "1000002.18"  # ids of local batch jobs that are over


@pytest.fixture(autouse=True)
def _second_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCFLOW_JOB", SECOND)


def _chain(run: Path, *, over: bool = False) -> None:
    record = JobRecord(
        system="local",
        id=FIRST,
        follow_ups=[SECOND, "1000003.19"],
        over=over,
        machine="laptop",
        script=str(run / "batch.sh"),
        submitted=datetime.now(UTC),
        nodes=1,
        slots=2,
        walltime_s=3600,
    )
    write_record(run, record)


def _ended(reason: str, *, ago_s: float, place: Path) -> Path:
    """Return a run whose last session ended so long ago, in a batch job that has follow-ups."""
    at = time.time() - ago_s
    script = Script().session(at - 1)
    run = write_run(place / "run", script.close(at, reason).events).path
    _chain(run)
    return run


def _follow_up(run: Path, *arguments: str) -> int:
    return CliRunner().invoke(main, ["follow-up", "--run", str(run), *arguments]).exit_code


def _over(run: Path) -> bool:
    record = read_record(run)
    assert record is not None
    return record.over


@pytest.mark.parametrize(
    ("reason", "code", "over"),
    [
        (FINISHED, 0, True),
        (FINISHED, 1, True),
        (f"error: {ValueError('bad code')!r}", 1, True),
        (f"error: {TaskError('a task failed')!r}", 1, True),
        (f"error: {FarmError('the scheduler is gone')!r}", 1, False),
        (OUT_OF_TIME, 1, False),
        (OUT_OF_TIME, 0, True),
        ("interrupted", 130, False),
    ],
)
def test_a_chain_is_over_when_its_driver_has_ended_by_itself(
    reason: str, code: int, over: bool, tmp_path: Path
) -> None:
    run = _ended(reason, ago_s=1, place=tmp_path)
    assert _follow_up(run, "--ended", str(code), "--lasted", "60") == 0
    assert _over(run) is over
    assert _follow_up(run) == int(over)


def test_what_cut_an_earlier_session_short_does_not_excuse_a_driver_that_never_began(
    tmp_path: Path,
) -> None:
    run = _ended(OUT_OF_TIME, ago_s=600, place=tmp_path)
    _follow_up(run, "--ended", "1", "--lasted", "60")
    assert _over(run)


def test_a_job_that_was_submitted_by_hand_is_needed_and_ends_no_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _ended(FINISHED, ago_s=1, place=tmp_path)
    _chain(run, over=True)
    assert _follow_up(run) == 1
    monkeypatch.setenv("HPCFLOW_JOB", "77")
    assert _follow_up(run) == 0
    _chain(run)
    assert _follow_up(run, "--ended", "0") == 0
    assert not _over(run)


def test_a_run_without_a_record_of_batch_jobs_has_no_chain(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run").create()
    assert _follow_up(tmp_path / "run") == 0
