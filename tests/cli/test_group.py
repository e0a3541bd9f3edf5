"""The command line itself: help that imports nothing, and every error in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpcflow.cli import main

_COMMANDS = ("run", "resume", "status", "watch", "timings", "report", "verify")


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="hpcflow")


def test_the_help_lists_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys; sys.argv = ['hpcflow', '--help']\n"
        "from hpcflow.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'distributed', 'dask', 'openmm', 'bokeh', 'numpy', 'rich', 'msgspec'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in shown.stdout
    for command in _COMMANDS:
        assert f"  {command} " in shown.stdout


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = _invoke(command, "--help")
    assert shown.exit_code == 0
    assert f"Usage: hpcflow {command}" in shown.stdout


def test_the_version_is_told() -> None:
    assert _invoke("--version").stdout.startswith("hpcflow 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "there is no command 'runn'; did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "x.toml", "--run", "x", "--slots", "0"], "0 is not in the range x>=1"),
        (["run", "x.toml", "--run", "x", "--slot", "1"], "No such option"),
        (["run", "none.toml", "--run", "x"], "cannot read none.toml: no such file or directory"),
        (["resume", "none"], "cannot read a run from 'none': it has no journal.jsonl"),
        (["verify", "none"], "cannot read a run from 'none': it has no journal.jsonl"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = _invoke(*arguments)
    assert shown.exit_code == 2
    assert shown.stderr.startswith("hpcflow: error: ")
    assert message in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_reader_that_goes_away_ends_the_program_quietly() -> None:
    line = f"{sys.executable} -m hpcflow --help | true; echo rest"
    shown = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert shown.stdout == "rest\n"
    assert shown.stderr == ""
