"""The run directory: one object holds every path in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpcflow.errors import JournalError, RequestError

_EXPLANATION = "the driver creates it with Farm(run=...) or `hpcflow run --run DIR`"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of one run. Everything in it is 0600 in a 0700 directory."""

    path: Path

    @classmethod
    def existing(cls, path: str | Path) -> RunDirectory:
        """Return the run directory at `path`.

        Raises
        ------
        RequestError
            If there is none.
        """
        directory = cls(Path(path))
        if not directory.journal.is_file():
            raise RequestError(
                f"cannot read a run from {str(path)!r}: it has no journal.jsonl. Name a run"
                f" directory; {_EXPLANATION}."
            )
        return directory

    def create(self) -> None:
        """Make the directory and its subdirectories, private to the user.

        One that is there and the user's own is closed to others: a batch system may write logs in
        it that everybody could read.

        Raises
        ------
        JournalError
            If a path cannot be written.
        """
        for directory in (self.path, self.payloads, self.tasks, self.logs, self.security):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _close(directory)
            except OSError as error:
                raise JournalError(
                    f"cannot create run directory {str(directory)!r}: {error.strerror}."
                    " Choose a path you can write to."
                ) from None

    @property
    def run_toml(self) -> Path:
        """What was asked: options, versions, machine."""
        return self.path / "run.toml"

    @property
    def journal(self) -> Path:
        """The events."""
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the one writer; says who it is."""
        return self.path / "journal.lock"

    @property
    def payloads(self) -> Path:
        """Values too large for the journal."""
        return self.path / "payloads"

    @property
    def tasks(self) -> Path:
        """Work directories: one a task that asks for one."""
        return self.path / "tasks"

    @property
    def logs(self) -> Path:
        """What scheduler, workers and runners print."""
        return self.path / "logs"

    @property
    def security(self) -> Path:
        """Certificates and key pairs of this session; removed at its end."""
        return self.path / "security"

    def scheduler_file(self, shard: int = 1) -> Path:
        """Address of the running scheduler, or of that of another shard."""
        return self.path / ("scheduler.json" if shard == 1 else f"scheduler-{shard}.json")

    @property
    def timings(self) -> Path:
        """One row an attempt."""
        return self.path / "timings.csv"

    @property
    def report(self) -> Path:
        """The self-contained HTML report."""
        return self.path / "report.html"

    def task_directory(self, stage: str, key: str) -> Path:
        """Return the work directory of a task; it exists once the task asked for it."""
        return self.tasks / stage / key


def _close(directory: Path) -> None:
    status = directory.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        directory.chmod(0o700)
