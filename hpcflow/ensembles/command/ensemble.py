"""An ensemble of commands: a task for each input."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from hpcflow.core.task import AnyOutcome, Succeeded, check_key
from hpcflow.ensembles.command.configuration import CommandConfiguration, CommandOptions
from hpcflow.ensembles.command.execution import (
    Request,
    arguments_of,
    environment_of,
    output_patterns,
    run_command,
)
from hpcflow.ensembles.command.inputs import Fields, read_inputs, resolved
from hpcflow.ensembles.command.template import Template
from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.errors import RequestError
from hpcflow.farm.context import current_task

if TYPE_CHECKING:
    from hpcflow.farm.farm import Farm

STAGE = "command"
_BEHIND_S = 5.0
"""How far the farm's own limit stands behind a command's, its grace included [s]."""
_SEEDS = 2**31
"""Programs commonly take seeds as signed 32-bit integers."""
_DIRECTORY = "configuration.directory"
_PLACE = {
    "task.key": "key",
    "task.attempt": "1",
    "task.seed": "0",
    "task.slot": "slot",
    "task.device": "cpu",
    "task.cores": "1",
    "task.directory": "/",
}
"""Fields that are known only where the task runs, with values that stand for them until then."""


class CommandEnsemble:
    """Any program over a list of inputs."""

    def __init__(self, configuration: CommandConfiguration) -> None:
        """Hold a configuration whose paths are absolute; nothing is read yet."""
        self.configuration = configuration

    @classmethod
    def from_configuration(cls, configuration: CommandConfiguration, base: Path) -> CommandEnsemble:
        """Return the ensemble of a configuration whose paths are relative to `base`."""
        return cls(
            CommandConfiguration(
                command=_resolved(configuration.command, base),
                inputs=resolved(configuration.inputs, base),
            )
        )

    @functools.cached_property
    def inputs(self) -> list[Fields]:
        """The fields of each input, read at the first access."""
        return read_inputs(self.configuration.inputs)

    @property
    def total(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    def describe(self) -> dict[str, Any]:
        """Return the configuration with absolute paths, without what was left out."""
        described: dict[str, Any] = msgspec.to_builtins(self.configuration)
        return {
            table: {name: value for name, value in options.items() if value is not None}
            for table, options in described.items()
        }

    # -- checks

    def check(self) -> None:
        """Look for the program, and fill every template for every input.

        Raises
        ------
        RequestError
            If the inputs cannot be read, a field is unknown or missing, an output would lie
            elsewhere than in the work directory, two inputs have one key, or there is no such
            program.
        """
        options = self.configuration.command
        if (options.arguments is None) == (options.shell is None) or options.arguments == []:
            raise RequestError(
                "cannot tell what to run: table 'command' holds exactly one of 'arguments' and"
                " 'shell', and it is not empty. Give one of them."
            )
        self._check_fields(_templates(options))
        programs = set()
        for fields in self.inputs:
            known = {**self._fields(fields), **_PLACE}
            programs.add(arguments_of(options, known)[0])
            for pattern in output_patterns(options, known):
                _check_output(pattern)
        path = environment_of(options, {**self._fields(self.inputs[0]), **_PLACE}).get("PATH")
        for program in sorted(programs):
            _check_program(program, path)
        self._check_keys()

    def _check_fields(self, templates: list[Template]) -> None:
        for template in templates:
            template.check({**self.inputs[0], _DIRECTORY: "", **_PLACE})
        if self.configuration.command.shell is not None:
            Template.parse(self.configuration.command.shell, "command.shell").check_unquoted()
        first = self.inputs[0].keys()
        needed = {name for template in templates for name in template.names} & first
        for number, fields in enumerate(self.inputs, start=1):
            if reserved := fields.keys() & {*_PLACE, _DIRECTORY}:
                raise RequestError(
                    f"cannot use field {min(reserved)!r} of input {number}: that name is"
                    " hpcflow's own. Rename the field."
                )
            if missing := needed - fields.keys():
                raise RequestError(
                    f"cannot fill {{{min(missing)}}} for input {number}: it has only"
                    f" {', '.join(sorted(fields))}. Add the field to the input."
                )

    def _check_keys(self) -> None:
        template = self._key_template()
        if template is None:
            return
        template.check(self.inputs[0])
        numbers: dict[str, int] = {}
        for number, fields in enumerate(self.inputs, start=1):
            key = check_key(template.render(fields))
            if key in numbers:
                raise RequestError(
                    f"cannot name the tasks: inputs {numbers[key]} and {number} have the same key"
                    f" {key!r}. Set command.key to fields that tell them apart."
                )
            numbers[key] = number

    def _key_template(self) -> Template | None:
        text = self.configuration.command.key
        if text is None and self.configuration.inputs.files is not None:
            text = "{name}"
        return None if text is None else Template.parse(text, "command.key")

    # -- the run

    def _fields(self, fields: Fields) -> Fields:
        directory = self.configuration.command.directory
        assert directory is not None, "from_configuration sets it"
        return {**fields, _DIRECTORY: directory}

    def run(self, farm: Farm, options: FarmOptions) -> Iterator[AnyOutcome]:
        """Run the command for each input and yield outcomes as they come."""
        command = self.configuration.command
        limit_s = options.time_limit_s
        template = self._key_template()
        outcomes: Iterator[AnyOutcome] = farm.map(
            run_task,
            [Request(command=command, fields=self._fields(fields)) for fields in self.inputs],
            stage=STAGE,
            key=None if template is None else lambda request: template.render(request.fields),
            retries=options.retries,
            time_limit_s=None if limit_s is None else limit_s + command.grace_s + _BEHIND_S,
        )
        return outcomes

    def summary(self, outcomes: Sequence[AnyOutcome], *, held_s: float) -> list[tuple[str, str]]:
        """Return how long the commands ran."""
        ran = [(o.value["seconds"], o.key) for o in outcomes if isinstance(o, Succeeded)]
        if not ran:
            return []
        longest_s, key = max(ran)
        mean_s = sum(seconds for seconds, _ in ran) / len(ran)
        return [
            ("mean run time", _duration(mean_s)),
            ("longest run time", f"{_duration(longest_s)} ({key})"),
        ]


def run_task(request: Request) -> dict[str, Any]:
    """Run a command as a task of a farm; paths in the record are relative to the run directory."""
    task = current_task()
    behind_s = request.command.grace_s + _BEHIND_S
    record = run_command(
        request,
        task.directory,
        time_limit_s=None if task.time_limit_s is None else task.time_limit_s - behind_s,
        place={
            "task.key": task.key,
            "task.attempt": str(task.attempt),
            "task.seed": str(task.seed % _SEEDS),
            "task.slot": task.slot,
            "task.device": task.device,
            "task.cores": str(len(task.cores)),
            "task.directory": str(task.directory),
        },
    )
    if task.run_directory is None:
        return record
    return _relative(record, task.run_directory)


def _relative(record: Mapping[str, Any], base: Path) -> dict[str, Any]:
    def strip(path: str) -> str:
        return str(Path(path).relative_to(base))

    return {
        **record,
        "stdout": strip(record["stdout"]),
        "stderr": strip(record["stderr"]),
        "outputs": [strip(path) for path in record["outputs"]],
    }


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _resolved(options: CommandOptions, base: Path) -> CommandOptions:
    base = base.absolute()
    arguments = list(options.arguments) if options.arguments is not None else None
    if arguments and "/" in arguments[0] and not arguments[0].startswith(("/", "{")):
        arguments[0] = str(base).replace("{", "{{").replace("}", "}}") + f"/{arguments[0]}"
    return msgspec.structs.replace(
        options, arguments=arguments, directory=str(base / (options.directory or ""))
    )


def _templates(options: CommandOptions) -> list[Template]:
    texts = [
        *(("arguments", text) for text in options.arguments or []),
        *(("shell", text) for text in filter(None, [options.shell])),
        *(("outputs", text) for text in options.outputs),
        *((f"environment.{name}", text) for name, text in options.environment.items()),
    ]
    return [
        Template.parse(text, f"command.{option}") for option, text in texts if isinstance(text, str)
    ]


def _check_output(pattern: str) -> None:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise RequestError(
            f"cannot expect output {pattern!r}: outputs lie within a task's work directory."
            " Give command.outputs relative to it, without '..'."
        )


def _check_program(program: str, path: str | None) -> None:
    if shutil.which(program, path=path) is None:
        rule = "it is no executable file" if "/" in program else "there is no such program on PATH"
        raise RequestError(
            f"cannot run {program!r}: {rule}. Install it, load its module, or give its path in"
            " command.arguments."
        )
