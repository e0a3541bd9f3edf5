from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpcflow.dashboards.source import Phase, RunSource
from hpcflow.errors import JournalError, RequestError
from hpcflow.journal.format import encode_line
from hpcflow.journal.lock import RunLock
from tests.journals import Script, write_run


def started() -> Script:
    script = Script().session(0).joined(1).stage(1, total=2).offered(1, "k0", "k1")
    return script.sent(2, "k0").ran(3, [("k0", 2, 3)]).sent(3, "k1")


def test_a_run_whose_driver_holds_the_lock_is_running(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", started().events)
    lock = RunLock.acquire(directory)
    source = RunSource.open(directory.path)
    seen = [(source.phase, source.state.running, source.resume is None)]
    assert source.driver is not None
    lock.release()
    source.refresh()
    seen.append((source.phase, source.state.running, source.resume is None))
    assert seen == [(Phase.RUNNING, 1, True), (Phase.KILLED, 0, False)]


def test_a_copy_of_a_live_run_is_a_killed_one(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", started().events)
    lock = RunLock.acquire(directory)
    shutil.copytree(directory.path, tmp_path / "copy")
    assert RunSource.open(tmp_path / "copy").phase is Phase.KILLED
    lock.release()


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        ("finished", Phase.FINISHED),
        ("interrupted", Phase.INTERRUPTED),
        ("out of wall time", Phase.OUT_OF_TIME),
        ("error: disk full", Phase.ERROR),
    ],
)
def test_a_closed_run_says_how_it_was_closed(tmp_path: Path, reason: str, phase: Phase) -> None:
    directory = write_run(tmp_path / "r", started().close(9, reason).events)
    source = RunSource.open(directory.path)
    assert source.phase is phase
    assert (source.resume is None) == (phase is Phase.FINISHED)


def test_an_ensemble_is_resumed_by_the_command_line_and_a_driver_by_itself(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "a", started().events)
    ensemble = write_run(tmp_path / "b", started().events, toml="[ensemble]\nname = 'x'\n")
    assert "Farm(run=" in (RunSource.open(plain.path).resume or "")
    assert RunSource.open(ensemble.path).resume == f"hpcflow resume {ensemble.path}"


def test_refresh_reads_only_what_is_new(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", started().events)
    lock = RunLock.acquire(directory)
    source = RunSource.open(directory.path)
    assert not source.refresh()
    (event,) = Script().ran(5, [("k1", 3, 5)]).events
    whole = encode_line(event)
    with directory.journal.open("ab") as journal:
        journal.write(whole[:20])
        journal.flush()
        assert not source.refresh()
        journal.write(whole[20:])
    assert source.refresh()
    assert source.state.ended == 2
    lock.release()


def test_an_empty_journal_is_an_empty_run(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", [])
    assert RunSource.open(directory.path).phase is Phase.EMPTY


def test_what_is_no_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read a run from .*no journal\.jsonl"):
        RunSource.open(tmp_path)


def test_a_damaged_journal_names_its_line(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", started().events)
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"node1", b"node2")
    directory.journal.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="line 2 is damaged"):
        RunSource.open(directory.path)


def test_a_damaged_run_toml_is_named(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", started().events, toml="slots = = 3\n")
    with pytest.raises(JournalError, match=r"run\.toml.*no TOML"):
        RunSource.open(directory.path)
