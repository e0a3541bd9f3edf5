"""Commands as tasks of a real farm."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from hpcflow import Farm
from hpcflow.core.task import AnyOutcome, Failed, Succeeded
from hpcflow.ensembles.command import CommandConfiguration, CommandEnsemble
from hpcflow.ensembles.ensemble import FarmOptions

_ROWS = {"rows": [{"name": "a"}]}


def _run(run: Path | None, options: FarmOptions, **command: Any) -> list[AnyOutcome]:
    values = {"command": {"key": "{name}", **command}, "inputs": _ROWS}
    configuration = msgspec.convert(values, CommandConfiguration)
    ensemble = CommandEnsemble.from_configuration(configuration, Path("/"))
    ensemble.check()
    with Farm(slots=1, run=run, seed=5) as farm:
        return list(ensemble.run(farm, options))


def test_paths_in_its_record_are_relative_to_the_run_directory(tmp_path: Path) -> None:
    run = tmp_path / "r"
    [outcome] = _run(
        run, FarmOptions(), arguments=["cp", "/proc/version", "{name}.txt"], outputs=["*.txt"]
    )
    assert isinstance(outcome, Succeeded)
    record = outcome.value
    assert record["stdout"] == "tasks/command/a/stdout.txt"
    assert record["outputs"] == ["tasks/command/a/a.txt"]


def test_without_a_run_its_files_lie_in_a_place_of_their_own(tmp_path: Path) -> None:
    [outcome] = _run(None, FarmOptions(), arguments=["pwd"])
    assert isinstance(outcome, Succeeded)
    assert Path(outcome.value["stdout"]).is_absolute()


def test_it_knows_its_task_and_has_the_same_seed_again(tmp_path: Path) -> None:
    shown = []
    for name in ("r", "s"):
        line = 'echo {task.key} $HPCFLOW_ATTEMPT {task.seed} $HPCFLOW_CORES "$HPCFLOW_DIRECTORY"'
        [outcome] = _run(tmp_path / name, FarmOptions(), shell=line)
        assert isinstance(outcome, Succeeded)
        shown.append((tmp_path / name / outcome.value["stdout"]).read_text().split())
    key, attempt, seed, cores, directory = shown[0]
    assert (key, attempt, seed) == ("a", "1", shown[1][2])
    assert 0 <= int(seed) < 2**31
    assert int(cores) >= 1
    assert directory == str(tmp_path / "r/tasks/command/a")


def test_a_command_that_fails_is_tried_again_and_may_go_on_where_it_was(tmp_path: Path) -> None:
    line = "test -e state || {{ touch state; exit 75; }}"
    [outcome] = _run(tmp_path / "r", FarmOptions(retries=1), shell=line)
    assert isinstance(outcome, Succeeded)
    assert outcome.attempt == 2


def test_past_its_time_limit_it_is_a_failed_outcome_that_says_so(tmp_path: Path) -> None:
    options = FarmOptions(time_limit_s=0.4)
    [outcome] = _run(tmp_path / "r", options, arguments=["sleep", "600"], grace_s=0.2)
    assert isinstance(outcome, Failed)
    assert "ran past its time limit of 0.4 s" in outcome.error.message
    assert outcome.duration_s < 30


_DRIVER = """
import sys
from pathlib import Path
import msgspec
from hpcflow import Farm
from hpcflow.ensembles.command import CommandConfiguration, CommandEnsemble
from hpcflow.ensembles.ensemble import FarmOptions

values = {"command": {"shell": sys.argv[1]}, "inputs": {"rows": [{"n": 1}]}}
configuration = msgspec.convert(values, CommandConfiguration)
ensemble = CommandEnsemble.from_configuration(configuration, Path("/"))
with Farm(slots=1, run=sys.argv[2]) as farm:
    list(ensemble.run(farm, FarmOptions()))
"""


def _wait_for(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def test_a_driver_that_is_killed_takes_every_descendant_of_its_commands_along(
    tmp_path: Path,
) -> None:
    here = str(tmp_path)
    line = (
        f"cd {here}; setsid sh -c 'echo $$ > pid.new; mv pid.new escaped.pid; exec sleep 600' &"
        f" sh -c 'echo $$ > pid.own; mv pid.own own.pid; exec sleep 600' & wait"
    )
    run = str(tmp_path / "r")
    files = [tmp_path / "escaped.pid", tmp_path / "own.pid"]
    with subprocess.Popen([sys.executable, "-c", _DRIVER, line, run]) as driver:
        _wait_for(lambda: all(file.exists() for file in files))
        processes = [int(file.read_text()) for file in files]
        assert all(map(psutil.pid_exists, processes))
        driver.kill()
    _wait_for(lambda: not any(map(psutil.pid_exists, processes)))
