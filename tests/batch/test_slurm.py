"""Slurm's commands, played by programs on PATH: their words are kept, patience ends.

The real Slurm is in tests/slurm.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcflow.batch.command import Patience
from hpcflow.batch.slurm import Slurm
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError
from tests.batch.programs import write_program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def _slurm(waits: list[float] | None = None) -> Slurm:
    waited = [] if waits is None else waits
    return Slurm(Patience(attempts=4, first_wait_s=2, sleep=waited.append))


@pytest.mark.parametrize(("answer", "job"), [("123", "123"), ("77;andes", "77")])
def test_the_number_of_the_batch_job_is_returned(answer: str, job: str, programs: Path) -> None:
    write_program(programs, "sbatch", f'echo "{answer}"; echo "$@" > {programs}/asked')
    assert _slurm().submit(Path("/r/batch.sh")) == job
    assert (programs / "asked").read_text() == "--parsable /r/batch.sh\n"


@pytest.mark.parametrize("answer", ["", "Submitted batch job 12", "12 13", "-1", "12;"])
def test_an_answer_that_names_no_job_is_an_error(answer: str, programs: Path) -> None:
    write_program(programs, "sbatch", f'echo "{answer}"')
    with pytest.raises(BatchSystemError, match="and the number of a batch job was expected"):
        _slurm().submit(Path("/r/batch.sh"))


def test_a_rejection_keeps_slurms_own_words_and_is_not_retried(programs: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid account or partition specified"
    write_program(programs, "sbatch", f'echo x >> {programs}/calls; echo "{said}" >&2; exit 1')
    with pytest.raises(BatchSystemError, match="Change what it objects to") as error:
        _slurm().submit(Path("/r/batch.sh"))
    assert error.value.stderr == said
    assert said in str(error.value)
    assert error.value.exit_code == 1
    assert error.value.command == ("sbatch", "--parsable", "/r/batch.sh")
    assert not error.value.transient
    assert (programs / "calls").read_text() == "x\n"


def _after(programs: Path, failures: int, said: str) -> None:
    write_program(
        programs,
        "sbatch",
        f"echo x >> {programs}/calls\nif [[ $(wc -l < {programs}/calls) -le {failures} ]]; then"
        f' echo "{said}" >&2; exit 1; fi\necho 9',
    )


def test_a_controller_out_of_reach_is_tried_again_with_longer_waits(programs: Path) -> None:
    _after(programs, 3, "sbatch: error: Unable to contact slurm controller (connect failure)")
    waits: list[float] = []
    assert _slurm(waits).submit(Path("/r/batch.sh")) == "9"
    assert waits == [2, 4, 8]


def test_patience_ends(programs: Path) -> None:
    _after(programs, 9, "sbatch: error: Unable to contact slurm controller (connect failure)")
    waits: list[float] = []
    with pytest.raises(BatchSystemError, match="try again later") as error:
        _slurm(waits).submit(Path("/r/batch.sh"))
    assert error.value.transient
    assert waits == [2, 4, 8]


def test_a_submission_that_may_have_been_taken_is_not_repeated(programs: Path) -> None:
    _after(programs, 1, "sbatch: error: Socket timed out on send/recv operation")
    with pytest.raises(BatchSystemError, match="It may have been taken all the same"):
        _slurm().submit(Path("/r/batch.sh"))
    assert (programs / "calls").read_text() == "x\n"


def test_without_slurm_on_path_the_error_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BatchSystemError, match="no program 'sbatch' on PATH") as error:
        _slurm().submit(Path("/r/batch.sh"))
    assert error.value.exit_code is None


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", JobState.WAITING),
        ("RUNNING", JobState.RUNNING),
        ("COMPLETING", JobState.RUNNING),
        ("COMPLETED", JobState.SUCCEEDED),
        ("FAILED", JobState.FAILED),
        ("TIMEOUT", JobState.FAILED),
        ("OUT_OF_MEMORY", JobState.FAILED),
        ("CANCELLED", JobState.CANCELLED),
    ],
)
def test_states_are_told_apart(said: str, state: JobState, programs: Path) -> None:
    write_program(programs, "squeue", f"echo {said}")
    assert _slurm().state("5") == state


def test_a_job_that_squeue_has_forgotten_is_looked_up_in_the_accounting(programs: Path) -> None:
    said = "slurm_load_jobs error: Invalid job id specified"
    write_program(programs, "squeue", f'echo "{said}" >&2; exit 1')
    write_program(programs, "sacct", 'echo "CANCELLED by 1000"')
    assert _slurm().state("5") == JobState.CANCELLED
    write_program(programs, "sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1')
    assert _slurm().state("5") == JobState.GONE


def test_cancelling_what_is_over_is_no_error(programs: Path) -> None:
    said = "scancel: error: Kill job error on job id 5: Invalid job id specified"
    asked = programs / "asked"
    write_program(programs, "scancel", f'echo "$@" > {asked}; echo "{said}" >&2; exit 1')
    _slurm().cancel("5")
    assert asked.read_text().split()[-1] == "5"


def test_cancelling_somebody_elses_job_is_an_error(programs: Path) -> None:
    said = "scancel: error: Kill job error on job id 5: Access/permission denied"
    write_program(programs, "scancel", f'echo "{said}" >&2; exit 1')
    with pytest.raises(BatchSystemError, match="Access/permission denied"):
        _slurm().cancel("5")
