"""`hpcflow submit` with the real farm, from script to proof: here, and by the fakes of LSF."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcflow.batch.chain import cancel_all
from hpcflow.batch.machine import MACHINES
from hpcflow.batch.record import log_of, read_record
from hpcflow.batch.system import JobState
from hpcflow.cli import main
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify
from hpcflow.testing.lsf import Cluster, install_lsf

_DRIVER = """
from hpcflow import Farm

if __name__ == "__main__":
    with Farm() as farm:
        for outcome in farm.map(abs, range(-8, 0)):
            print(outcome.result(), "again" if outcome.replayed else "anew")
"""
_LONGEST_S = 60.0


_DEVICES = """
from hpcflow import Farm, current_task

def place(_):
    return current_task().slot, current_task().device

if __name__ == "__main__":
    with Farm() as farm:
        farm.wait_for_slots()
        for outcome in farm.map(place, range(48)):
            print(*outcome.result(), "seen")
"""


_IS_ENDED_ONCE = """
import os, signal
from hpcflow import Farm

if __name__ == "__main__":
    with Farm() as farm:
        for count, outcome in enumerate(farm.map(abs, range(-8, 0))):
            if not outcome.replayed and count == 3:
                os.kill(os.getpid(), signal.SIGTERM)
"""


def _lsf_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory with an LSF of one host, and a machine's file for it, `here.toml`."""
    monkeypatch.chdir(place)
    for name, text in install_lsf(place / "lsf", Cluster(hosts=1), os.environ).items():
        monkeypatch.setenv(name, text)
    summit = (MACHINES / "summit.toml").read_text()
    for there, here in (('"ib0"', '"lo"'), ('"/mnt/bb/$USER"', '"/tmp"'), ("setup =", "#")):
        summit = summit.replace(there, here)
    Path("here.toml").write_text(summit)


def _submit_and_wait(*more: str, machine: str = "laptop") -> list[str]:
    """Submit the driver, wait for its batch job, and return what it printed of its outcomes."""
    state, printed = _run(*more, machine=machine)
    assert state == JobState.SUCCEEDED, printed
    return sorted(line for line in printed.splitlines() if line.endswith(("anew", "again", "seen")))


def _run(*more: str, machine: str) -> tuple[JobState, str]:
    """Submit the driver, wait for its batch job; return how that ended, and what it printed."""
    options = ("--machine", machine, "--walltime", "5m", "--run", "r", "--account", "abc123")
    submitted = CliRunner().invoke(main, ["submit", "driver.py", *options, *more])
    assert submitted.exit_code == 0, submitted.stderr
    record = read_record(Path("r"))
    assert record is not None
    system, deadline = record.system_in(Path("r")), time.monotonic() + _LONGEST_S
    while system.state(record.id).live and time.monotonic() < deadline:
        time.sleep(0.05)
    state = system.state(record.id)
    system.cancel(record.id)
    return state, CliRunner().invoke(main, ["logs", "r"]).stdout


def test_a_submitted_driver_uses_the_farm_of_its_batch_job_and_a_second_one_continues_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("driver.py").write_text(_DRIVER)

    assert _submit_and_wait() == [f"{n} anew" for n in range(1, 9)]
    assert _submit_and_wait() == [f"{n} again" for n in range(1, 9)]

    verdict = verify(RunDirectory(tmp_path / "r"))
    assert verdict.complete
    assert (verdict.succeeded, verdict.sessions) == (8, 2)


@pytest.mark.parametrize("worker_per", ["node", "slot"])
def test_on_lsf_every_slot_has_a_gpu_of_its_own(
    worker_per: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lsf_here(tmp_path, monkeypatch)
    Path("driver.py").write_text(_DEVICES)

    seen = {
        tuple(line.split()[:2])
        for line in _submit_and_wait("--worker-per", worker_per, machine="here.toml")
    }

    assert len(seen) == 6
    assert sorted(device for _, device in seen) == list("012345")
    assert verify(RunDirectory(tmp_path / "r")).succeeded == 48


def test_on_lsf_a_follow_up_finishes_what_a_driver_that_was_ended_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lsf_here(tmp_path, monkeypatch)
    Path("driver.py").write_text(_IS_ENDED_ONCE)
    options = ("--machine", "here.toml", "--walltime", "5m", "--run", "r", "--account", "abc123")
    submitted = CliRunner().invoke(main, ["submit", "driver.py", *options, "--follow-ups", "2"])
    assert submitted.exit_code == 0, submitted.stderr
    record = read_record(Path("r"))
    assert record is not None
    system, deadline = record.system_in(Path("r")), time.monotonic() + _LONGEST_S
    while any(system.state(job).live for job in record.chain) and time.monotonic() < deadline:
        time.sleep(0.1)
    cancel_all(system, list(record.chain))
    printed = CliRunner().invoke(main, ["logs", "r"]).stdout
    states = [system.state(job) for job in record.chain]
    assert states == [JobState.FAILED, JobState.SUCCEEDED, JobState.FAILED], printed
    assert not log_of(Path("r"), record.chain[2]).exists()
    verdict = verify(RunDirectory(tmp_path / "r"))
    assert (verdict.complete, verdict.succeeded, verdict.sessions) == (True, 8, 2)


@pytest.mark.parametrize(
    ("before", "after", "step", "said"),
    [
        ('"lo"', '"lo9"', "(scheduler|workers)", "cannot listen on interface 'lo9'"),
        ('"lo"  ', '"lo"\nscratch = "/dev/null"  ', "workers", "/dev/null"),
    ],
)
def test_a_step_that_cannot_start_ends_the_job_at_once_with_its_own_words(
    before: str,
    after: str,
    step: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    laptop = (MACHINES / "laptop.toml").read_text()
    assert before in laptop
    Path("here.toml").write_text(laptop.replace(before, after))
    Path("driver.py").write_text(_DRIVER)

    state, printed = _run(machine="here.toml")  # fails at its deadline, long before `wait` gives up

    assert state == JobState.FAILED, printed
    assert re.search(f"cannot start: step {step} has ended with code ", printed)
    assert said in printed.partition("cannot start: ")[2]
    assert "anew" not in printed
