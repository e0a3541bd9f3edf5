"""Which batch jobs are still there, as each batch system lists them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from hpcflow.batch.listing import live_jobs
from hpcflow.batch.lsf import Lsf
from hpcflow.batch.machine import QueueName
from hpcflow.errors import BatchSystemError
from hpcflow.testing.lsf import Cluster, install_lsf
from tests.batch.programs import write_program
from tests.batch.test_local import until

USER = pwd.getpwuid(os.getuid()).pw_name
QSTAT = """\
job-ID  prior   name       user         state submit/start at     queue                  slots
----------------------------------------------------------------------------------------------
  10429 0.55500 hpcflow    ada          r     11/20/2026 19:26:01 all.q@node7                32
  10430 0.00000 hpcflow    ada          qw    11/20/2026 19:26:02                            32
"""


def _answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, body: str) -> None:
    write_program(tmp_path / "bin", program, body)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


@pytest.mark.parametrize(
    ("system", "program", "arguments", "said"),
    [
        ("slurm", "squeue", f"--noheader --format=%A --user={USER}", "10429\n10430\n"),
        ("pbs", "qselect", f"-u {USER}", "10429.pbs01\n10430.pbs01\n"),
        ("sge", "qstat", f"-u {USER}", QSTAT),
    ],
)
def test_jobs_that_wait_or_run_are_listed(
    system: QueueName,
    program: str,
    arguments: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = f'[[ "$*" == "{arguments}" ]] || exit 2\nprintf %s "{said}"'
    _answers(tmp_path, monkeypatch, program, body)
    assert live_jobs(system) == {"10429", "10430"}


@pytest.mark.parametrize(
    ("system", "program"), [("slurm", "squeue"), ("pbs", "qselect"), ("sge", "qstat")]
)
def test_without_jobs_none_is_listed(
    system: QueueName, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(tmp_path, monkeypatch, program, "true")
    assert live_jobs(system) == set()


def test_a_batch_system_that_does_not_answer_is_an_error_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    _answers(tmp_path, monkeypatch, "squeue", f"echo '{words}' >&2; exit 1")
    with pytest.raises(BatchSystemError) as error:
        live_jobs("slurm")
    assert error.value.stderr == words


def test_lsf_lists_what_is_not_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in install_lsf(tmp_path / "lsf", Cluster(hosts=2), os.environ).items():
        monkeypatch.setenv(name, text)
    assert live_jobs("lsf") == set()
    head = "#BSUB -P abc123\n#BSUB -W 0:10\n#BSUB -nnodes 1\n"
    job = Lsf().submit(write_program(tmp_path, "batch.sh", f"{head}sleep 600"))
    assert live_jobs("lsf") == {job}
    assert live_jobs("lsf", only=("-q", "batch")) == {job}
    assert live_jobs("lsf", only=("-q", "debug")) == set()
    Lsf().cancel(job)
    until(lambda: live_jobs("lsf") == set())
