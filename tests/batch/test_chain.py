"""A batch job and its follow-ups: all or none, and when a run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcflow.batch.chain import LAST_S, run_goes_on, submit_chain
from hpcflow.batch.command import Patience
from hpcflow.batch.local import Local
from hpcflow.batch.slurm import Slurm
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError
from tests.batch.programs import write_program
from tests.batch.test_local import until


@pytest.mark.parametrize(
    ("code", "left_s", "cut_short", "goes_on"),
    [
        (0, 1000.0, False, False),
        (0, LAST_S / 2, False, False),
        (1, 1000.0, False, False),
        (1, None, False, False),
        (139, 1000.0, False, False),
        (1, LAST_S / 2, False, True),
        (1, -5.0, False, True),
        (3, 1000.0, False, True),
        (130, None, False, True),
        (143, 1000.0, False, True),
        (1, 1000.0, True, True),
        (0, 1000.0, True, False),
    ],
)
def test_a_run_goes_on_unless_its_driver_has_ended_by_itself(
    code: int, left_s: float | None, cut_short: bool, goes_on: bool
) -> None:
    assert run_goes_on(code, left_s=left_s, cut_short=cut_short) is goes_on


def test_each_follow_up_depends_on_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    write_program(tmp_path, "sbatch", f'echo "$@" >> {asked}; wc -l < {asked}')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert submit_chain(Slurm(), Path("/r/batch.sh"), follow_ups=2) == ["1", "2", "3"]
    assert asked.read_text().splitlines() == [
        "--parsable /r/batch.sh",
        "--parsable --dependency=afterany:1 /r/batch.sh",
        "--parsable --dependency=afterany:2 /r/batch.sh",
    ]


def test_where_one_follow_up_is_refused_no_batch_job_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    write_program(
        tmp_path,
        "sbatch",
        f'echo x >> {tmp_path}/n; n=$(wc -l < {tmp_path}/n); [[ $n -lt 3 ]] && echo "$n" && exit\n'
        f'echo "{said}" >&2; exit 1',
    )
    write_program(tmp_path, "scancel", f'echo "$@" >> {tmp_path}/ended')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BatchSystemError, match="QOSMaxSubmitJobPerUserLimit"):
        submit_chain(Slurm(Patience(attempts=1)), Path("/r/batch.sh"), follow_ups=5)
    assert (tmp_path / "ended").read_text() == "2\n1\n"


def test_a_local_job_waits_for_the_one_before_and_ends_what_that_leaves(tmp_path: Path) -> None:
    system, gate = Local(tmp_path), tmp_path / "gate"
    first = write_program(
        tmp_path,
        "first.sh",
        f"sleep 600 & echo $! > {tmp_path}/left; until [[ -e {gate} ]]; do sleep 0.02; done",
    )
    before = system.submit(first)
    after = system.submit(write_program(tmp_path, "second.sh", "exit 0"), after=before)
    until((tmp_path / "left").exists)
    assert system.state(after) == JobState.WAITING
    gate.touch()
    until(lambda: not system.state(after).live)
    assert system.state(before) == system.state(after) == JobState.SUCCEEDED
    left = int((tmp_path / "left").read_text())
    until(lambda: not Path(f"/proc/{left}").exists())


def test_a_local_job_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    system = Local(tmp_path)
    before = system.submit(write_program(tmp_path, "first.sh", "sleep 600"))
    after = system.submit(
        write_program(tmp_path, "second.sh", f"touch {tmp_path}/ran"), after=before
    )
    system.cancel(after)
    system.cancel(before)
    assert system.state(after) == system.state(before) == JobState.CANCELLED
    assert not (tmp_path / "ran").exists()
