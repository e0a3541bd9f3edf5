from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcflow.dashboards.output import replacing
from hpcflow.errors import JournalError


def test_a_file_takes_the_place_of_the_old_one_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    with replacing(target) as file:
        file.write("new")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(target) as file:
        file.write(f"half {1 // 0}")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "out.csv"
    with (
        pytest.raises(JournalError, match=r"cannot write .*missing/out\.csv.*No such file"),
        replacing(missing),
    ):
        pass


def test_a_directory_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot write"), replacing(tmp_path):
        pass


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as file:
        file.write("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


def test_what_is_wrong_with_the_journal_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    damage = JournalError("cannot read journal 'x': line 3 is damaged")
    with pytest.raises(JournalError, match="line 3"), replacing(tmp_path / "out.csv"):
        raise damage
