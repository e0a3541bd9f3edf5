"""The command group: it imports only the command that is asked for, and words every error alike."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from hpcflow.errors import HpcflowError, RequestError, nearest

EXIT_BAD_REQUEST = 2
EXIT_BROKEN = 3
EXIT_INTERRUPTED = 130


class Entry(NamedTuple):
    """A command that is not imported yet."""

    module: str
    """Module that holds it, under the command's own name."""
    purpose: str
    """Its line in the group's help."""


class CommandLine(click.Group):
    """A group whose help imports no command, and whose errors are one line and an exit code."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(*args, **options)
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the table."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(entry.module), cmd_name.replace("-", "_")
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the command line, or name the nearest."""
        if args[0] not in self._entries:
            ctx.fail(f"there is no command {args[0]!r}; {nearest(args[0], self._entries)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.purpose) for name, entry in self._entries.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line as click does, but exit with one line for every error.

        With `standalone_mode=False` nothing is caught and nothing exits.
        """
        alone = options.pop("standalone_mode", True)
        run: Callable[..., Any] = super().main
        try:
            code = run(*args, standalone_mode=False, **options)
        except (HpcflowError, click.ClickException, click.Abort) as error:
            if not alone:
                raise
            code = _complain(error)
        if alone:
            sys.exit(code)
        return code


def _complain(error: HpcflowError | click.ClickException | click.Abort) -> int:
    """Print an error as one line, with the farm's notes on how to go on; return the exit code."""
    match error:
        case click.Abort():
            return EXIT_INTERRUPTED
        case click.UsageError():
            path = "hpcflow" if error.ctx is None else error.ctx.command_path
            lines, code = [f"{error.format_message()} See `{path} --help`."], error.exit_code
        case click.ClickException():
            lines, code = [error.format_message()], error.exit_code
        case RequestError():
            lines, code = [str(error)], EXIT_BAD_REQUEST
        case _:
            lines, code = [str(error), *getattr(error, "__notes__", [])], EXIT_BROKEN
    click.echo(f"hpcflow: error: {lines[0]}", err=True)
    for line in lines[1:]:
        click.echo(line, err=True)
    return code
