"""What a run configuration can say about an ensemble of commands."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_ExitCode = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Scalar = str | int | float | bool


class CommandOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[command]` table: what runs for each input, and what it must leave.

    Text may hold fields in braces: those of the inputs, `{task.key}`, `{task.seed}` (an integer
    below 2**31, the same wherever the task runs), `{task.cores}` (their number),
    `{task.directory}`, and `{configuration.directory}`. Braces meant literally are doubled.
    """

    arguments: list[str] | None = None
    """The program and its arguments, one string each; no shell sees them. A program with a slash
    is relative to the configuration."""
    shell: str | None = None
    """Instead of `arguments`: a line for /bin/sh. Field values are quoted for it."""
    outputs: list[str] = []
    """Files or directories it must leave, relative to its work directory. `*`, `?` and `[...]`
    match as in a shell, and then one match is enough."""
    allow_empty_outputs: bool = False
    """Whether an output may be empty; by default that is a failure."""
    exit_codes: Annotated[list[_ExitCode], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [0]
    )
    """Exit codes that mean success."""
    environment: dict[str, _Scalar] = {}
    """Variables added to the environment."""
    key: str | None = None
    """Name of each task. By default `{name}` for files, and position and digest otherwise."""
    directory: str | None = None
    """What `{configuration.directory}` stands for; by default, where the configuration is."""
    grace_s: _Positive = 10.0
    """Time between the polite and the forcible end of a command past its time limit [s]."""


class InputOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[inputs]` table: exactly one source of inputs, with a task for each."""

    rows: list[dict[str, _Scalar]] | None = None
    """Tables in the configuration itself (`[[inputs.rows]]`)."""
    csv: str | None = None
    """A file of comma-separated values; the first line names the fields."""
    tsv: str | None = None
    """A file of tab-separated values; the first line names the fields."""
    json_lines: str | None = None
    """A file with a JSON object on each line."""
    files: str | list[str] | None = None
    """Files by pattern (`*`, `**`), sorted; fields `path` (absolute), `name` and `stem`."""


class CommandConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that an ensemble of commands is made from."""

    command: CommandOptions
    inputs: InputOptions
