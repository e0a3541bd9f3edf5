"""`hpcflow run` and `hpcflow resume`, as programs of their own, on real farms."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcflow import Farm
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify

_FACTOR = """
ensemble = "command"
[farm]
slots = 2
[command]
arguments = ["factor", "{number}"]
key = "n{number}"
[inputs]
rows = [{number = 91}, {number = 97}, {number = 99}]
"""
_UNLUCKY = "test {number} != 97 || {{ echo no luck >&2; exit 3; }}"
_FIRST_THEN_WAIT = '''
ensemble = "command"
[farm]
slots = 1
[command]
shell = """
cd {configuration.directory}
echo x >> {name}
test -e go || sleep {s}
"""
key = "{name}"
[inputs]
rows = [{name = "first", s = 0}, {name = "second", s = 600}, {name = "third", s = 0}]
'''
"""The second task sleeps until it is stopped, or not at all once there is a file `go`."""


def _hpcflow(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcflow", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _wait_for(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


@contextmanager
def _running_second(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run and hand it over while its second task runs."""
    (tmp_path / "run.toml").write_text(_FIRST_THEN_WAIT)
    with subprocess.Popen(
        [sys.executable, "-m", "hpcflow", "run", "run.toml", "--run", "r"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        _wait_for((tmp_path / "second").exists)
        yield driver
        if driver.poll() is None:
            driver.kill()


def test_a_run_shows_progress_and_ends_with_a_table_and_a_report(tmp_path: Path) -> None:
    (tmp_path / "factor.toml").write_text(_FACTOR)
    shown = _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    assert shown.returncode == 0, shown.stderr
    assert "done: 3/3 done, 0 failed, 0 running" in shown.stderr
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in shown.stdout.splitlines())
    assert rows["tasks"] == rows["succeeded"] == "3"
    assert rows["report"] == "r/report.html"
    assert rows.keys() >= {"utilization", "lost to start-up", "lost to dispatch", "lost to tail"}
    assert (tmp_path / "r/report.html").stat().st_size > 0
    assert (tmp_path / "r/tasks/command/n91/stdout.txt").read_text() == "91: 7 13\n"

    started = time.monotonic()
    again = _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    assert again.stdout == "r is complete: 3 of 3 tasks succeeded. Report: r/report.html\n"
    assert again.returncode == 0
    assert _hpcflow(tmp_path, "resume", "r").stdout == again.stdout
    assert time.monotonic() - started < 10
    assert verify(RunDirectory(tmp_path / "r")).sessions == 1


def test_failed_tasks_are_told_as_they_come_and_make_exit_code_1(tmp_path: Path) -> None:
    text = _FACTOR.replace('arguments = ["factor", "{number}"]', f"shell = {_UNLUCKY!r}")
    (tmp_path / "factor.toml").write_text(text.replace("[farm]", "[farm]\nretries = 1"))
    shown = _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    assert shown.returncode == 1
    assert "failed in attempt 2: n97: cannot finish `/bin/sh -c" in shown.stderr
    assert "it exited with code 3" in shown.stderr
    assert "after the words 'no luck'" in shown.stderr
    assert shown.stderr.endswith("1 task failed or were lost: see `hpcflow status r`\n")
    again = _hpcflow(tmp_path, "resume", "r")
    assert again.returncode == 1
    assert "r is complete: 2 of 3 tasks succeeded." in again.stdout


def test_a_configuration_is_checked_whole_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "factor.toml").write_text(_FACTOR.replace('"factor"', '"no-such-program"'))
    shown = _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    assert shown.returncode == 2
    assert shown.stderr.startswith("hpcflow: error: cannot run 'no-such-program'")
    assert not (tmp_path / "r").exists()


def test_a_run_of_another_ensemble_is_refused(tmp_path: Path) -> None:
    (tmp_path / "factor.toml").write_text(_FACTOR)
    _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    (tmp_path / "factor.toml").write_text(_FACTOR.replace("91", "93"))
    shown = _hpcflow(tmp_path, "run", "factor.toml", "--run", "r")
    assert shown.returncode == 2
    assert "it holds another ensemble (different: inputs)" in shown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_does(
    tmp_path: Path, number: signal.Signals
) -> None:
    with _running_second(tmp_path) as driver:
        driver.send_signal(number)
        _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 130
    last = "interrupted: 1 of 3 tasks are recorded. Continue with: hpcflow resume r\n"
    assert stderr.endswith(last)

    (tmp_path / "go").touch()
    resumed = _hpcflow(tmp_path, "resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "recorded before   1" in resumed.stdout
    assert (tmp_path / "first").read_text() == "x\n"
    verdict = verify(RunDirectory(tmp_path / "r"))
    assert verdict.complete
    assert verdict.succeeded == 3


def test_a_killed_run_goes_on_with_the_same_command_and_its_options_may_change(
    tmp_path: Path,
) -> None:
    with _running_second(tmp_path) as driver:
        refused = _hpcflow(tmp_path, "run", "run.toml", "--run", "r")
        assert refused.returncode == 2
        assert f"process {driver.pid} on host" in refused.stderr
        driver.kill()
    (tmp_path / "go").touch()
    text = _FIRST_THEN_WAIT.replace("slots = 1", "slots = 2\ntime_limit_s = 60")
    (tmp_path / "run.toml").write_text(text)
    resumed = _hpcflow(tmp_path, "run", "run.toml", "--run", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "recorded before   1" in resumed.stdout
    assert (tmp_path / "first").read_text() == "x\n"
    assert (tmp_path / "r/farm.toml").read_text() == "slots = 2\nretries = 0\ntime_limit_s = 60.0\n"


def test_a_run_that_a_driver_made_cannot_be_resumed_without_it(tmp_path: Path) -> None:
    with Farm(slots=1, run=tmp_path / "r") as farm:
        assert [outcome.result() for outcome in farm.map(abs, [-1])] == [1]
    shown = _hpcflow(tmp_path, "resume", "r")
    assert shown.returncode == 2
    assert "cannot resume 'r': a Python driver made it" in shown.stderr
    assert f"Run the driver again, as from {str(Path.cwd())!r} by `python " in shown.stderr
