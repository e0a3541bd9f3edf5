"""What a run asked of its farm, kept beside what it computes, so that resuming asks the same."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.settings import dump_toml, load_toml


def keep_options(directory: RunDirectory, options: FarmOptions) -> None:
    """Write the `[farm]` table of a run's configuration into the run, in place of the last one.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    path = _path(directory)
    temporary = path.with_suffix(".tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(dump_toml(msgspec.to_builtins(options)))
        temporary.replace(path)
    except OSError as error:
        raise JournalError(
            f"cannot write {str(path)!r}: {error.strerror}. Free space or raise the quota, then"
            " resume the run."
        ) from None


def kept_options(directory: RunDirectory) -> FarmOptions:
    """Return what `keep_options` wrote, or the defaults where it wrote nothing.

    Raises
    ------
    RequestError
        If the file was altered so that it is no such table any more.
    """
    path = _path(directory)
    return load_toml(path, FarmOptions) if path.exists() else FarmOptions()


def _path(directory: RunDirectory) -> Path:
    return directory.path / "farm.toml"
