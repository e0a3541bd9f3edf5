"""Open a run for writing: new, or to be resumed."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hpcflow
from hpcflow.clock import Clock
from hpcflow.core.event import SessionClosed, SessionOpened
from hpcflow.errors import JournalError, RequestError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import RunLock
from hpcflow.journal.resume import Recorded
from hpcflow.journal.writer import JournalWriter
from hpcflow.private import write_private
from hpcflow.settings import dump_toml

_PACKAGES = ("dask", "distributed", "numpy", "cloudpickle", "msgspec", "openmm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that this process writes."""

    directory: RunDirectory
    seed: int
    recorded: Recorded
    writer: JournalWriter
    lock: RunLock

    def close(self, closed: SessionClosed) -> None:
        """Record how the session ended, bring the journal to the disk, and let go of the run.

        A journal that could not be written before is left as it was.

        Raises
        ------
        JournalError
            If it cannot be written now.
        """
        try:
            if not self.writer.broken:
                self.writer.append([closed])
            self.writer.close()
        finally:
            self.lock.release()


def open_run(
    directory: RunDirectory,
    *,
    seed: int | None,
    slots: int,
    elastic: bool,
    ensemble: Mapping[str, Any] | None,
    clock: Clock,
) -> Run:
    """Become the writer of a run, and record that a session begins.

    Raises
    ------
    RequestError
        If the directory holds something else, or another process writes the run.
    JournalError
        If it cannot be read or written.
    """
    _check_place(directory)
    directory.create()
    lock = RunLock.acquire(directory)
    try:
        recorded = Recorded(directory)
        _check_ensemble(directory, recorded, ensemble)
        first = recorded.session
        if first is not None and seed not in (None, first.seed):
            raise RequestError(
                f"cannot resume run {str(directory.path)!r} with seed {seed}: it was begun with"
                f" seed {first.seed}. Leave the seed out, or use a new run directory."
            )
        if first is None:
            seed = int.from_bytes(os.urandom(6)) if seed is None else seed
            run_id = uuid.uuid4().hex
            _write_run_toml(directory, run_id=run_id, seed=seed, ensemble=ensemble)
        else:
            run_id, seed = first.run_id, first.seed
        writer = JournalWriter(directory.journal, end=recorded.end)
        writer.append(
            [
                SessionOpened(
                    at=clock.now(),
                    run_id=run_id,
                    seed=seed,
                    hpcflow=hpcflow.__version__,
                    python=platform.python_version(),
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    slots=slots,
                    elastic=elastic,
                )
            ]
        )
    except BaseException:
        lock.release()
        raise
    return Run(directory=directory, seed=seed, recorded=recorded, writer=writer, lock=lock)


def _check_place(directory: RunDirectory) -> None:
    """Refuse to fill a directory that holds something else."""
    path = directory.path
    if path.exists() and not path.is_dir():
        raise RequestError(
            f"cannot use {str(path)!r} as a run directory: it is a file. Choose another path."
        )
    if not path.is_dir() or directory.lock.exists() or directory.journal.exists():
        return
    try:
        other = next(path.iterdir(), None)
    except OSError as error:
        raise JournalError(
            f"cannot read run directory {str(path)!r}: {error.strerror}. Choose another path."
        ) from None
    if other is not None:
        raise RequestError(
            f"cannot use {str(path)!r} as a run directory: it holds {other.name!r} and no journal."
            " Choose a new or an empty directory."
        )


def _check_ensemble(
    directory: RunDirectory, recorded: Recorded, ensemble: Mapping[str, Any] | None
) -> None:
    if recorded.session is None:
        return
    before = read_run_toml(directory).get("ensemble")
    now = None if ensemble is None else tomllib.loads(dump_toml(dict(ensemble)))
    if before == now:
        return
    changed = sorted(
        name
        for name in {*(before or {}), *(now or {})}
        if (before or {}).get(name) != (now or {}).get(name)
    )
    raise RequestError(
        f"cannot resume run {str(directory.path)!r}: it holds another ensemble"
        f" (different: {', '.join(changed)}). Use a new run directory, or the configuration that"
        f" its {directory.run_toml.name} describes."
    )


def read_run_toml(directory: RunDirectory) -> dict[str, Any]:
    """Return what a run's `run.toml` says; nothing where it is missing.

    Raises
    ------
    JournalError
        If it is no TOML.
    """
    try:
        return tomllib.loads(directory.run_toml.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise JournalError(
            f"cannot read {str(directory.run_toml)!r}: {error}. Restore it from a copy."
        ) from None


def _write_run_toml(
    directory: RunDirectory, *, run_id: str, seed: int, ensemble: Mapping[str, Any] | None
) -> None:
    content: dict[str, Any] = {
        "run": {
            "id": run_id,
            "seed": seed,
            "created": datetime.now(UTC),
            "command": sys.argv,
            "directory": str(Path.cwd()),
        },
        "versions": {
            "hpcflow": hpcflow.__version__,
            "python": platform.python_version(),
            **{name: found for name in _PACKAGES if (found := _version(name))},
        },
        "machine": {
            "host": socket.gethostname(),
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
        },
    }
    commit = _git_commit()
    if commit:
        content["run"]["git_commit"] = commit
    if ensemble is not None:
        content["ensemble"] = dict(ensemble)
    write_private(directory.run_toml, dump_toml(content))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the working directory: which version of the driver this was."""
    try:
        answer = subprocess.run(
            ("git", "rev-parse", "HEAD"),  # noqa: S607  # the user's git, wherever it is
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
