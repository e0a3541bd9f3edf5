"""Run one command for one input, and say what became of it."""

from __future__ import annotations

import glob
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hpcflow.ensembles.command import supervisor
from hpcflow.ensembles.command.configuration import CommandOptions
from hpcflow.ensembles.command.inputs import Fields
from hpcflow.ensembles.command.template import Template
from hpcflow.errors import HpcflowError

STDOUT = "stdout.txt"
STDERR = "stderr.txt"
_TAIL_BYTES = 4000
_TAIL_LINES = 20
_LONGEST_NAME = 60
_LONGEST_WORDS = 100


class CommandError(HpcflowError, RuntimeError):
    """A command did not do what was asked of it.

    Attributes
    ----------
    arguments
        The argument list that ran.
    exit_code
        Its exit code; negative is the number of the signal that ended it; None if it could not
        start.
    """

    def __init__(self, message: str, *, arguments: list[str], exit_code: int | None = None) -> None:
        super().__init__(message)
        self.arguments = arguments
        self.exit_code = exit_code


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One input and the command that is to run for it: what a task is given."""

    command: CommandOptions
    fields: Fields


def run_command(
    request: Request,
    directory: Path,
    *,
    time_limit_s: float | None = None,
    place: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a command to its end and return a record of it.

    Outputs that an earlier attempt left in the directory are removed first. Nothing that the
    command started outlives it.

    Parameters
    ----------
    request
        The command and the fields of its input.
    directory
        Its work directory, which exists; standard output and error go to files in it.
    time_limit_s
        When to end it and all its descendants [s]: politely, and forcibly after its grace.
    place
        Further fields, which are known only where the task runs, such as `task.key`. They stand in
        the environment too: `HPCFLOW_KEY`.

    Returns
    -------
    dict
        `exit_code`; `seconds`, its run time [s]; `stdout`, `stderr` and `outputs`, absolute paths
        as text.

    Raises
    ------
    CommandError
        If it cannot start, ends otherwise than by an expected exit code, runs past its limit, or
        does not leave an output.
    """
    fields = {**request.fields, **(place or {})}
    options = request.command
    patterns = output_patterns(options, fields)
    for pattern in patterns:
        _remove(_matches(pattern, directory))
    attempt = _Attempt(options, arguments_of(options, fields), directory)
    environment = {
        **os.environ,
        **{
            f"HPCFLOW_{name.rpartition('.')[2].upper()}": value
            for name, value in (place or {}).items()
        },
        **environment_of(options, fields),
    }
    report = attempt.supervise(environment, time_limit_s)
    attempt.judge(report, time_limit_s)
    return {
        "exit_code": report["code"],
        "seconds": report["seconds"],
        "stdout": str(directory / STDOUT),
        "stderr": str(directory / STDERR),
        "outputs": [path for pattern in patterns for path in attempt.outputs(pattern)],
    }


def arguments_of(options: CommandOptions, fields: Mapping[str, str]) -> list[str]:
    """Return the argument list, with the fields filled in."""
    if options.shell is not None:
        return ["/bin/sh", "-c", _fill(options.shell, "shell", fields, quote=shlex.quote)]
    return [_fill(text, "arguments", fields) for text in options.arguments or []]


def environment_of(options: CommandOptions, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are added to the environment, with the fields filled in."""
    return {
        name: _fill(value, f"environment.{name}", fields)
        if isinstance(value, str)
        else str(value).lower()
        for name, value in options.environment.items()
    }


def output_patterns(options: CommandOptions, fields: Mapping[str, str]) -> list[str]:
    """Return the patterns of the outputs; what a field holds matches only itself."""
    return [_fill(text, "outputs", fields, quote=glob.escape) for text in options.outputs]


def _fill(
    text: str, option: str, fields: Mapping[str, str], *, quote: Callable[[str], str] = str
) -> str:
    return Template.parse(text, f"command.{option}").render(fields, quote)


class _Attempt:
    def __init__(self, options: CommandOptions, arguments: list[str], directory: Path) -> None:
        self._options = options
        self._arguments = arguments
        self._directory = directory

    def supervise(self, environment: Mapping[str, str], limit_s: float | None) -> dict[str, Any]:
        """Run the command under a supervisor and return the supervisor's report."""
        request = {
            "parent": os.getpid(),
            "arguments": self._arguments,
            "directory": str(self._directory),
            "stdout": str(self._directory / STDOUT),
            "stderr": str(self._directory / STDERR),
            "environment": dict(environment),
            "time_limit_s": limit_s,
            "grace_s": self._options.grace_s,
        }
        with subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                report, complaint = process.communicate(json.dumps(request).encode())
            except BaseException:
                process.terminate()  # it kills what is left of the command before it goes
                raise
        if process.returncode != 0:
            raise self._error(
                f"its supervisor ended with {process.returncode}"
                f" ({complaint.decode(errors='replace').strip() or 'no message'})",
                "Run it again",
            )
        return dict(json.loads(report))

    def judge(self, report: Mapping[str, Any], limit_s: float | None) -> None:
        """Raise unless the report is one of success."""
        if report["fault"] is not None:
            number, subject = report["fault"]
            rule = f"{os.strerror(number).lower()}: {subject!r}"
            raise self._error(rule, "Correct the command or the environment it runs in")
        code = report["code"]
        if report["overran"]:
            rule = f"it ran past its time limit of {limit_s:.4g} s"
            raise self._error(rule, "Raise farm.time_limit_s", code, tail=True)
        if code not in self._options.exit_codes:
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
            rule = f"it {how} after {report['seconds']:.3g} s"
            raise self._error(rule, f"See {STDERR} and {STDOUT} of the task", code, tail=True)

    def outputs(self, pattern: str) -> list[str]:
        """Return the paths that match; raise if there is none, or one is empty and must not be."""
        matches = _matches(pattern, self._directory)
        if not matches:
            rule = f"it ended well but left no output {pattern!r} in {str(self._directory)!r}"
            raise self._error(rule, "Correct command.outputs or the command", 0, tail=True)
        for path in matches:
            if not self._options.allow_empty_outputs and _is_empty(path):
                rule = f"it ended well but left output {str(path)!r} empty"
                remedy = "Set command.allow_empty_outputs if that is right"
                raise self._error(rule, remedy, 0, tail=True)
        return [str(path) for path in matches]

    def _error(
        self, rule: str, remedy: str, code: int | None = None, *, tail: bool = False
    ) -> CommandError:
        path, lines = self._last_words() if tail else (None, [])
        if lines:
            rule += f", after the words {_cut(lines[-1], _LONGEST_WORDS)!r}"
        line = shlex.join(self._arguments)
        message = [f"cannot finish `{_cut(line, _LONGEST_NAME)}`: {rule}. {remedy}."]
        message += [f"The command: {line}", f"Its work directory: {self._directory}"]
        if lines:
            message += [f"The last lines of {path}:", *(f"  {line}" for line in lines)]
        return CommandError("\n".join(message), arguments=self._arguments, exit_code=code)

    def _last_words(self) -> tuple[Path | None, list[str]]:
        """Return the last lines of standard error, or of standard output if that is empty."""
        for name in (STDERR, STDOUT):
            path = self._directory / name
            if lines := _tail(path):
                return path, lines
        return None, []


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _matches(pattern: str, directory: Path) -> list[Path]:
    found = glob.glob(pattern, root_dir=directory, recursive=True)  # noqa: PTH207  as a shell
    own = {STDOUT, STDERR} - {pattern}  # they are outputs only where they are named
    return [directory / name for name in sorted(set(found) - own) if (directory / name).exists()]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    if path.is_dir():
        return next(path.iterdir(), None) is None
    return path.stat().st_size == 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.rstrip().splitlines()[-_TAIL_LINES:]
