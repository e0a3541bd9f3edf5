"""What a run asked of its farm, kept beside what it computes, so that resuming asks the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.journal.directory import RunDirectory
from hpcflow.private import write_private
from hpcflow.settings import dump_toml, load_toml


def keep_options(directory: RunDirectory, options: FarmOptions) -> None:
    """Write the `[farm]` table of a run's configuration into the run, in place of the last one.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    write_private(_path(directory), dump_toml(msgspec.to_builtins(options)))


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
