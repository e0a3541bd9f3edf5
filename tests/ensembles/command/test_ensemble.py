"""An ensemble of commands is checked whole before anything starts."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpcflow.ensembles.command import CommandConfiguration, CommandEnsemble
from hpcflow.errors import RequestError

_NUMBERS = {"rows": [{"n": 6, "name": "six"}, {"n": 7, "name": "seven"}]}


def _ensemble(
    base: Path, command: dict[str, Any], inputs: dict[str, Any] | None = None
) -> CommandEnsemble:
    values = {"command": command, "inputs": inputs or _NUMBERS}
    return CommandEnsemble.from_configuration(msgspec.convert(values, CommandConfiguration), base)


def _refusal(base: Path, command: dict[str, Any], inputs: dict[str, Any] | None = None) -> str:
    with pytest.raises(RequestError) as raised:
        _ensemble(base, command, inputs).check()
    return str(raised.value)


def test_a_sound_one_passes_and_has_a_task_for_each_input(tmp_path: Path) -> None:
    ensemble = _ensemble(
        tmp_path,
        {
            "arguments": ["factor", "{n}"],
            "key": "{name}",
            "outputs": ["stdout.txt"],
            "environment": {"SEED": "{task.seed}", "DATA": "{configuration.directory}"},
        },
    )
    ensemble.check()
    assert ensemble.total == 2


def test_what_it_describes_builds_it_again(tmp_path: Path) -> None:
    first = _ensemble(tmp_path, {"arguments": ["factor", "{n}"], "key": "{name}"})
    described = msgspec.convert(first.describe(), CommandConfiguration)
    again = CommandEnsemble.from_configuration(described, Path("/elsewhere"))
    assert again.configuration == first.configuration
    assert again.describe() == first.describe()


def test_a_program_with_a_slash_is_relative_to_the_configuration(tmp_path: Path) -> None:
    base = tmp_path / "odd {name}"
    base.mkdir()
    program = base / "fold.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    _ensemble(base, {"arguments": ["./fold.sh", "{n}"]}).check()


def test_a_program_is_found_on_the_path_that_the_command_will_have(tmp_path: Path) -> None:
    program = tmp_path / "fold"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    path = f"{tmp_path}:{os.environ['PATH']}"
    _ensemble(tmp_path, {"arguments": ["fold", "{n}"], "environment": {"PATH": path}}).check()
    assert "cannot run 'fold'" in _refusal(
        tmp_path, {"arguments": ["fold", "{n}"], "environment": {"PATH": "/nowhere"}}
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ({"arguments": ["no-such-program"]}, "cannot run 'no-such-program': there is no such"),
        ({"arguments": ["./none.sh"]}, "it is no executable file"),
        ({"arguments": ["factor", "{nmae}"]}, "{nmae} in command.arguments: the inputs have no"),
        ({"arguments": ["factor", "{nmae}"]}, "did you mean 'name'? Correct the name"),
        ({"arguments": ["factor"], "outputs": ["{x}"]}, "{x} in command.outputs"),
        ({"arguments": ["true"], "environment": {"A": "{x}"}}, "{x} in command.environment.A"),
        ({"arguments": ["true"], "outputs": ["/x"]}, "cannot expect output '/x'"),
        ({"arguments": ["true"], "outputs": ["../{name}"]}, "cannot expect output '../six'"),
        ({"arguments": ["true"], "key": "x"}, "inputs 1 and 2 have the same key 'x'"),
        ({"arguments": ["true"], "key": "a/{name}"}, "cannot name a task 'a/six'"),
        ({"arguments": ["true"], "key": "{task.seed}"}, "{task.seed} in command.key"),
        ({"shell": "echo '{name}'"}, "{name} in command.shell: it stands between quotes"),
        ({"shell": "echo", "arguments": ["echo"]}, "exactly one of 'arguments' and 'shell'"),
        ({}, "exactly one of 'arguments' and 'shell'"),
        ({"arguments": []}, "exactly one of 'arguments' and 'shell'"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, command: dict[str, Any], message: str) -> None:
    assert message in _refusal(tmp_path, command)


def test_an_input_without_a_field_that_others_have_is_named(tmp_path: Path) -> None:
    rows = {"rows": [{"n": 6, "m": 1}, {"n": 7}]}
    assert "cannot fill {m} for input 2: it has only n." in _refusal(
        tmp_path, {"arguments": ["factor", "{n}", "{m}"]}, rows
    )


def test_an_input_cannot_have_a_field_of_hpcflows_own(tmp_path: Path) -> None:
    rows = {"rows": [{"task.key": "a"}]}
    assert "cannot use field 'task.key' of input 1" in _refusal(
        tmp_path, {"arguments": ["true"]}, rows
    )


def test_files_of_one_name_in_two_directories_need_a_key(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x.fasta").touch()
    assert "have the same key 'x.fasta'. Set command.key" in _refusal(
        tmp_path, {"arguments": ["cat", "{path}"]}, {"files": "*/x.fasta"}
    )
