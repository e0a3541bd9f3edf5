from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hpcflow.errors import JournalError, RequestError
from hpcflow.journal.directory import RunDirectory


def test_a_run_directory_is_private_and_complete(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    before = os.umask(0)
    try:
        directory.create()
    finally:
        os.umask(before)
    inside = [directory.payloads, directory.tasks, directory.logs, directory.security]
    assert sorted(directory.path.iterdir()) == sorted(inside)
    for each in [directory.path, *inside]:
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_a_directory_that_the_user_has_made_is_closed_to_others(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.logs.mkdir(parents=True)
    for each in (directory.path, directory.logs):
        each.chmod(0o755)
    directory.create()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.logs.stat().st_mode) == 0o700


def test_a_run_directory_may_exist_already(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.journal.write_bytes(b"")
    directory.create()
    assert RunDirectory.existing(str(directory.path)) == directory


@pytest.mark.parametrize("place", ["missing", "."])
def test_a_directory_without_a_journal_is_no_run(tmp_path: Path, place: str) -> None:
    with pytest.raises(RequestError, match=r"cannot read a run from .*: it has no journal\.jsonl"):
        RunDirectory.existing(tmp_path / place)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"cannot create run directory .*: Not a directory"):
        RunDirectory(tmp_path / "file" / "run").create()


def test_every_file_of_a_run_lies_in_its_directory(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    files = {
        directory.run_toml: "run.toml",
        directory.journal: "journal.jsonl",
        directory.lock: "journal.lock",
        directory.scheduler_file(): "scheduler.json",
        directory.scheduler_file(2): "scheduler-2.json",
        directory.timings: "timings.csv",
        directory.report: "report.html",
        directory.task_directory("simulate", "r000"): "tasks/simulate/r000",
    }
    for path, name in files.items():
        assert path == tmp_path / "run" / name
