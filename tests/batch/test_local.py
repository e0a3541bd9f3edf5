"""Batch jobs on this machine are real background processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hpcflow.batch.local import Local
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError
from tests.batch.programs import write_program


def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait for a condition, and fail if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.mark.parametrize(("code", "state"), [(0, JobState.SUCCEEDED), (3, JobState.FAILED)])
def test_a_job_ends_as_its_script_does(code: int, state: JobState, logs: Path) -> None:
    system = Local(logs)
    job = system.submit(write_program(logs.parent, "batch.sh", f"echo hello; exit {code}"))
    until(lambda: not system.state(job).live)
    assert system.state(job) == state
    log = logs / f"batch-{job.partition('.')[0]}.log"
    assert log.read_text() == "hello\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_job_is_cancelled_with_all_that_it_started(logs: Path) -> None:
    system = Local(logs)
    job = system.submit(write_program(logs.parent, "batch.sh", "sleep 600 & sleep 600"))
    assert system.state(job) == JobState.RUNNING
    leader = psutil.Process(int(job.partition(".")[0]))
    until(lambda: len(leader.children(recursive=True)) == 3)
    members = leader.children(recursive=True)
    system.cancel(job)
    assert system.state(job) == JobState.CANCELLED
    assert not any(member.is_running() for member in members)
    system.cancel(job)


def test_another_process_with_the_same_number_is_not_the_job(logs: Path) -> None:
    me = psutil.Process()
    assert Local(logs).state(f"{me.pid}.1") == JobState.CANCELLED


def test_what_is_no_id_of_a_job_is_an_error(logs: Path) -> None:
    with pytest.raises(BatchSystemError, match="that is no id of one"):
        Local(logs).state("1; rm -rf /")
