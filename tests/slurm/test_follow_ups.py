"""Batch jobs that continue a run by themselves on a real Slurm, and the chain's end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hpcflow.batch.record import read_record
from hpcflow.core.event import SessionOpened
from hpcflow.journal.directory import RunDirectory
from tests.slurm.jobs import Job, call, hpcflow, submit
from tests.slurm.test_submit import FAILS, SLEEPS, WAITS_HALF_WAY, driver, places


def chain_of(run: Path) -> list[Job]:
    record = read_record(run)
    assert record is not None
    return [Job(job, RunDirectory(run)) for job in record.chain]


@pytest.mark.timeout(400)  # Slurm counts wall time in minutes, and looks every half of one
def test_a_run_that_the_wall_time_cuts_short_is_finished_by_its_follow_up(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    options = ("--walltime", "1m", "--follow-ups", "2", "--", notes, gate)
    submit(path, run, *options, nodes=2)
    first, second, third = chain_of(run)
    first.until(lambda: len(list(first.values())) == 10)
    first.until(lambda: first.state == "TIMEOUT", within_s=200)
    gate.touch()
    second.assert_succeeded()
    assert third.state == "CANCELLED"
    assert not (run / "logs" / f"batch-{third.id}.log").exists()
    assert dict(second.values()) == {str(n): n * n for n in range(20)}
    started = Counter(notes.read_text().split())
    assert all(started[str(n)] == 1 for n in range(10)), started
    assert sum(isinstance(event, SessionOpened) for event in second.events()) == 2
    assert hpcflow("verify", run).returncode == 0
    assert hpcflow("cancel", run).stdout == f"batch job {second.id} is over: succeeded\n"


def test_a_batch_job_that_is_killed_at_once_is_followed(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    gate = tmp_path / "gate"
    submit(path, run, "--follow-ups", "1", "--", tmp_path / "notes", gate, nodes=2)
    first, second = chain_of(run)
    first.until(lambda: len(list(first.values())) == 10)
    assert second.state == "PENDING"
    assert call("scancel", "--signal=KILL", "--full", first.id).returncode == 0
    first.until(lambda: first.state not in {"RUNNING", "COMPLETING"})
    gate.touch()
    second.assert_succeeded()
    assert dict(second.values()) == {str(n): n * n for n in range(20)}


def test_a_batch_job_that_loses_its_first_node_is_followed(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    gate = tmp_path / "gate"
    submit(path, run, "--follow-ups", "1", "--", tmp_path / "notes", gate, nodes=2)
    first, second = chain_of(run)
    first.until(lambda: len(list(first.values())) == 10)
    head = min(host for host, _ in places(first))
    update = ("scontrol", "update", f"nodename={head}")
    assert call(*update, "state=down", "reason=test").returncode == 0
    try:
        assert first.wait() in {"NODE_FAIL", "FAILED"}
        gate.touch()
        second.assert_succeeded()
    finally:
        call(*update, "state=resume")
    assert dict(second.values()) == {str(n): n * n for n in range(20)}
    assert sum(isinstance(event, SessionOpened) for event in second.events()) == 2


def test_a_driver_that_fails_ends_the_chain(tmp_path: Path) -> None:
    run = tmp_path / "run"
    submit(driver(tmp_path, FAILS), run, "--follow-ups", "2")
    first, second, third = chain_of(run)
    assert first.wait() == "FAILED"
    assert first.described["ExitCode"] == "7:0"
    assert (second.wait(), third.wait()) == ("CANCELLED", "CANCELLED")
    assert len(list(run.glob("logs/batch-*.log"))) == 1


def test_cancel_ends_the_chain(tmp_path: Path) -> None:
    path, run = driver(tmp_path, SLEEPS), tmp_path / "run"
    submit(path, run, "--follow-ups", "2")
    jobs = chain_of(run)
    jobs[0].until(lambda: len(places(jobs[0])) == 2)
    shown = hpcflow("cancel", run).stdout
    assert shown == (
        f"batch job {jobs[0].id}, which was running, is cancelled with its 2 follow-ups\n"
    )
    assert [job.wait() for job in jobs] == ["CANCELLED"] * 3
    assert len(list(run.glob("logs/batch-*.log"))) == 1
