"""Real commands, run to their end: what they leave, and that nothing is left of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from hpcflow.ensembles.command.configuration import CommandOptions
from hpcflow.ensembles.command.execution import CommandError, Request, run_command


def _run(
    directory: Path, /, fields: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    limits = {"time_limit_s": options.pop("time_limit_s", None)}
    place = options.pop("place", None)
    command = CommandOptions(**options)
    request = Request(command=command, fields=fields or {})
    return run_command(request, directory, place=place, **limits)


def _shell(
    directory: Path, /, fields: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    return _run(directory, fields, **{"shell": options.pop("line"), **options})


def _wait_for(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _pids(directory: Path) -> list[int]:
    """Return the process ids that a command wrote, one a file, under pids/."""
    return [int(path.read_text() or 0) for path in directory.glob("*.pid")]


_FAMILY = """
echo $$ > child.pid
sh -c 'echo $$ > grandchild.pid; exec sleep 600' &
setsid sh -c 'echo $$ > escaped.pid; exec sleep 600' &
until [ -s grandchild.pid ] && [ -s escaped.pid ]; do :; done
"""
"""A command with a grandchild in its process group and one that left for its own session."""


def test_a_command_leaves_its_output_in_files_and_a_plain_record(tmp_path: Path) -> None:
    record = _run(tmp_path, {"number": "91"}, arguments=["factor", "{number}"])
    assert Path(record["stdout"]).read_text() == "91: 7 13\n"
    assert Path(record["stderr"]).read_text() == ""
    assert record["exit_code"] == 0
    assert 0 < record["seconds"] < 10
    assert msgspec.json.decode(msgspec.json.encode(record)) == record


def test_an_argument_reaches_the_program_as_it_is(tmp_path: Path) -> None:
    value = '$HOME `ls` "it\'s" *\n; rm'
    record = _run(tmp_path, {"value": value}, arguments=["printf", "%s", "{value}"])
    assert Path(record["stdout"]).read_text() == value


def test_a_shell_line_is_run_by_a_shell_and_its_fields_are_quoted(tmp_path: Path) -> None:
    record = _shell(tmp_path, {"value": "$(id); '"}, line="echo {value} | tr a-z A-Z")
    assert Path(record["stdout"]).read_text() == "$(ID); '\n"


def test_it_runs_in_its_work_directory_with_additions_to_the_environment(tmp_path: Path) -> None:
    record = _shell(
        tmp_path,
        {"who": "me"},
        line="pwd; echo $A $B $HPCFLOW_KEY {task.key} $HOME",
        environment={"A": "{who}", "B": 2},
        place={"task.key": "k-1"},
    )
    home = os.environ["HOME"]
    assert Path(record["stdout"]).read_text() == f"{tmp_path}\nme 2 k-1 k-1 {home}\n"


def test_its_standard_input_is_empty(tmp_path: Path) -> None:
    assert _run(tmp_path, arguments=["cat"])["exit_code"] == 0


def test_another_exit_code_than_expected_is_an_error_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="exited with code 3") as raised:
        _shell(tmp_path, line="seq 100 >&2; echo out; exit 3")
    assert raised.value.exit_code == 3
    assert raised.value.arguments[0] == "/bin/sh"
    assert str(raised.value).endswith("\n  99\n  100")
    assert "  80\n" not in str(raised.value)


def test_where_stderr_is_empty_the_last_words_are_those_on_stdout(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"last lines of .*stdout.txt:\n  no licence"):
        _shell(tmp_path, line="echo no licence; exit 1")


def test_an_expected_exit_code_is_a_success(tmp_path: Path) -> None:
    record = _run(tmp_path, arguments=["grep", "x", "/dev/null"], exit_codes=[0, 1])
    assert record["exit_code"] == 1


def test_a_signal_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="was ended by SIGSEGV") as raised:
        _shell(tmp_path, line="kill -SEGV $$")
    assert raised.value.exit_code == -signal.SIGSEGV


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such file or directory: 'no-such-program'"):
        _run(tmp_path, arguments=["no-such-program"])


def test_outputs_are_checked_for_and_listed(tmp_path: Path) -> None:
    record = _shell(
        tmp_path,
        {"name": "a[1]"},
        line="mkdir d; echo x > d/{name}.pdb; echo y > r_1.txt; echo z > r_2.txt",
        outputs=["d/{name}.pdb", "r_*.txt", "d"],
    )
    names = [str(Path(path).relative_to(tmp_path)) for path in record["outputs"]]
    assert names == ["d/a[1].pdb", "r_1.txt", "r_2.txt", "d"]


def test_a_missing_output_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"left no output 'a\.pdb'"):
        _run(tmp_path, {"name": "a"}, arguments=["true"], outputs=["{name}.pdb"])


def test_an_empty_output_is_an_error_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"left output .*/done' empty"):
        _run(tmp_path, arguments=["touch", "done"], outputs=["done"])
    assert _run(tmp_path, arguments=["touch", "done"], outputs=["done"], allow_empty_outputs=True)[
        "outputs"
    ] == [str(tmp_path / "done")]


def test_a_second_attempt_does_not_take_the_first_ones_output_for_its_own(tmp_path: Path) -> None:
    _shell(tmp_path, line="echo x > out.txt", outputs=["out.txt"])
    with pytest.raises(CommandError, match=r"left no output 'out\.txt'"):
        _run(tmp_path, arguments=["true"], outputs=["out.txt"])


def test_a_second_attempt_finds_what_is_no_declared_output(tmp_path: Path) -> None:
    _shell(tmp_path, line="echo checkpoint > state")
    assert Path(_run(tmp_path, arguments=["cat", "state"])["stdout"]).read_text() == "checkpoint\n"


def test_a_time_limit_ends_the_command_and_all_its_descendants(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"ran past its time limit of 0\.5 s"):
        _shell(tmp_path, line=f"{_FAMILY} wait", time_limit_s=0.5, grace_s=0.2)
    pids = _pids(tmp_path)
    assert len(pids) == 3
    assert all(map(_is_gone, pids))


def test_a_command_past_its_limit_has_time_to_say_goodbye(tmp_path: Path) -> None:
    line = "trap 'echo saved > state; exit 0' TERM; while :; do sleep 0.05; done"
    with pytest.raises(CommandError, match="ran past its time limit"):
        _shell(tmp_path, line=line, time_limit_s=0.3)
    assert (tmp_path / "state").read_text() == "saved\n"


def test_one_that_ignores_the_polite_end_is_killed(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        _shell(tmp_path, line="trap '' TERM; sleep 600", time_limit_s=0.2, grace_s=0.2)
    assert raised.value.exit_code == -signal.SIGKILL


def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    assert _shell(tmp_path, line=_FAMILY)["exit_code"] == 0
    pids = _pids(tmp_path)
    assert len(pids) == 3
    assert all(map(_is_gone, pids))


_RUNNER = """
import sys
from pathlib import Path
from hpcflow.ensembles.command.configuration import CommandOptions
from hpcflow.ensembles.command.execution import Request, run_command
run_command(Request(command=CommandOptions(shell=sys.argv[1]), fields={}), Path(sys.argv[2]))
"""


def test_a_runner_that_is_killed_takes_the_command_and_all_its_descendants_along(
    tmp_path: Path,
) -> None:
    line = f"{_FAMILY} touch ready; wait"
    with subprocess.Popen([sys.executable, "-c", _RUNNER, line, str(tmp_path)]) as runner:
        _wait_for((tmp_path / "ready").exists)
        pids = _pids(tmp_path)
        assert len(pids) == 3
        assert not any(map(_is_gone, pids))
        runner.kill()
    _wait_for(lambda: all(map(_is_gone, pids)))


def test_a_supervisor_that_is_killed_takes_the_command_along_and_is_an_error(
    tmp_path: Path,
) -> None:
    line = "echo $PPID > supervisor.pid; echo $$ > child.pid; kill -9 $PPID; exec sleep 600"
    with pytest.raises(CommandError, match="its supervisor ended with -9"):
        _shell(tmp_path, line=line)
    _wait_for(lambda: all(map(_is_gone, _pids(tmp_path))))
