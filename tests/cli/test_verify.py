"""`hpcflow verify` says whether a run is whole, and what is not."""

from pathlib import Path

from click.testing import CliRunner, Result

from hpcflow.cli import main
from tests.journals import Script, write_run


def _verify(path: Path, script: Script) -> Result:
    write_run(path, script.events)
    return CliRunner().invoke(main, ["verify", str(path)])


def _script() -> Script:
    return Script().session(0).joined(1).stage(1).offered(1, "x", "y", "z").sent(1, "x", "y", "z")


def test_a_whole_run_is_one_line_and_exit_code_0(tmp_path: Path) -> None:
    script = _script().ran(2, [("x", 1, 2), ("y", 1, 2)]).failed(3, "z", (2, 3))
    shown = _verify(tmp_path, script.stage_closed(3, offered=3).close(4))
    assert shown.exit_code == 0
    assert shown.stdout == (
        f"{tmp_path}: whole: 3 tasks offered in 1 session, 2 succeeded, 1 failed, 0 lost\n"
    )


def test_what_is_not_whole_is_listed_a_line_each_with_exit_code_1(tmp_path: Path) -> None:
    script = _script().ran(2, [("x", 1, 2)]).ran(3, [("x", 2, 3)]).failed(3, "z", (2, 3))
    shown = _verify(tmp_path, script.stage_closed(3, offered=3))
    assert shown.exit_code == 1
    head, *lines = shown.stdout.splitlines()
    assert "NOT whole, 2 problems: 3 tasks offered" in head
    assert sorted(lines) == [
        "simulate\tx\t2 recorded outcomes",
        "simulate\ty\tno recorded outcome",
    ]


def test_a_run_that_is_to_go_on_is_not_whole_yet(tmp_path: Path) -> None:
    script = _script().ran(2, [("x", 1, 2), ("y", 1, 2), ("z", 1, 2)])
    shown = _verify(tmp_path, script)
    assert shown.exit_code == 1
    assert "1 problem:" in shown.stdout
    assert "simulate\t(the stage)\tnot finished" in shown.stdout


def test_a_damaged_journal_is_an_error_and_exit_code_3(tmp_path: Path) -> None:
    directory = write_run(tmp_path, _script().events)
    data = directory.journal.read_bytes()
    directory.journal.write_bytes(data.replace(b"login1", b"login2", 1))
    shown = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert shown.exit_code == 3
    assert "line 1 is damaged: its checksum does not match" in shown.stderr
