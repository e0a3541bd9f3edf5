from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hpcflow.core.event import SlotLost
from hpcflow.errors import JournalError
from hpcflow.journal.format import encode_line
from hpcflow.journal.reader import read_journal
from hpcflow.journal.writer import JournalWriter

# Appends groups of lines until the file may grow no further, then tries once more.
FILLER = """
import json, resource, sys
from pathlib import Path
from hpcflow.core.event import SlotLost
from hpcflow.errors import JournalError
from hpcflow.journal.writer import JournalWriter

path, limit, group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
writer = JournalWriter(path, end=path.stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
acknowledged = 0
while not writer.broken:
    try:
        writer.append(
            [SlotLost(at=acknowledged + n, slot="a", reason="x" * 90) for n in range(group)]
        )
    except JournalError as error:
        print(json.dumps([acknowledged, writer.broken, str(error)]))
        break
    acknowledged += group
writer.close()
"""


def lost(number: int) -> SlotLost:
    return SlotLost(at=float(number), slot="a", reason="killed")


def read(path: Path) -> list[float]:
    return [event.at for event in read_journal(path)]


def test_what_is_appended_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path, end=0)
    for number in range(3):
        writer.append([lost(number), lost(number)])
        assert read(path)[-1] == number
    assert len(read(path)) == 6
    writer.close()


def test_nothing_is_appended_of_nothing(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl", end=0)
    writer.append([])
    writer.close()
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


def test_a_journal_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        JournalWriter(tmp_path / "journal.jsonl", end=0).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "journal.jsonl").stat().st_mode) == 0o600


def test_a_torn_line_is_cut_off_before_anything_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = encode_line(lost(1)), encode_line(lost(2))
    path.write_bytes(first + second[:-5])
    writer = JournalWriter(path, end=len(first))
    assert path.read_bytes() == first
    writer.append([lost(3)])
    writer.close()
    assert read(path) == [1, 3]


def test_a_journal_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot write journal .*: No such file or directory"):
        JournalWriter(tmp_path / "missing" / "journal.jsonl", end=0)


@pytest.mark.parametrize("group", [1, 3, 40])
def test_on_a_full_disk_a_group_is_recorded_whole_or_not_at_all(tmp_path: Path, group: int) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode_line(lost(-1)))
    filler = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), "10000", str(group)],
        check=True,
        capture_output=True,
    )
    acknowledged, broken, message = json.loads(filler.stdout)
    assert read(path) == list(range(-1, acknowledged))
    assert path.read_bytes().endswith(b"\n")
    assert broken
    assert "Nothing recorded is lost: free space or raise the quota" in message
    assert path.stat().st_size <= 10000
    JournalWriter(path, end=path.stat().st_size).close()


def test_a_failed_sync_breaks_the_journal(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl", end=0)
    writer.append([lost(1)])
    os.close(writer._fd)
    with pytest.raises(JournalError, match="Bad file descriptor"):
        writer.sync()
    assert writer.broken


def test_a_write_that_cannot_be_taken_back_is_still_a_journal_error(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl", end=0)
    os.close(writer._fd)
    with pytest.raises(JournalError, match="Bad file descriptor"):
        writer.append([lost(1)])
    assert writer.broken


def test_a_sync_without_news_is_free(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl", end=0)
    writer.append([lost(1)])
    writer.sync()
    os.close(writer._fd)
    writer.sync()  # it would fail if it asked the disk
    assert not writer.broken
