"""A run as seen from its directory: what was asked, what happened, and whether a driver lives."""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcflow.core.event import OUT_OF_TIME, AnyEvent
from hpcflow.core.state import RunState
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import Holder, holder
from hpcflow.journal.reader import JournalReader


class Phase(enum.StrEnum):
    """Where a run stands."""

    EMPTY = "empty"
    """No driver has opened it yet, and none is about to."""
    RUNNING = "running"
    """A driver holds it now."""
    FINISHED = "finished"
    """The last driver ended by itself."""
    INTERRUPTED = "interrupted"
    """The last driver was told to stop, and recorded what was back."""
    OUT_OF_TIME = OUT_OF_TIME
    """The last driver stopped because nothing fitted in what was left of its wall time."""
    ERROR = "stopped by an error"
    """The last driver stopped with an error, and said so."""
    KILLED = "killed"
    """The last driver is gone without a word: killed, or its machine died."""


class RunSource:
    """Follows one run directory. Never locks, never writes; reads nothing before `refresh`.

    Attributes
    ----------
    directory
        The run directory.
    asked
        `run.toml` as a mapping; empty where there is none.
    state
        What the journal says so far; `refresh` brings it up to date.
    driver
        Who held the run at the last `refresh`.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.asked = _read_toml(directory.run_toml)
        self.state = RunState()
        self.driver: Holder | None = None
        self._journal = JournalReader(directory.journal)

    @classmethod
    def open(cls, path: str | Path) -> RunSource:
        """Return the run at `path`, read up to now.

        Raises
        ------
        RequestError
            If `path` is no run directory.
        JournalError
            If its journal or its `run.toml` cannot be read, or is damaged.
        """
        source = cls(RunDirectory.existing(path))
        source.refresh()
        return source

    def refresh(self, *, also: Callable[[AnyEvent], None] | None = None) -> bool:
        """Read what is new, and return whether anything was.

        Parameters
        ----------
        also
            Is given each event too, so that nobody has to read the journal a second time.

        Raises
        ------
        JournalError
            If the journal cannot be read any more, or is damaged.
        """
        # Asked before reading: where nobody holds the run then, the journal is complete.
        self.driver = holder(self.directory)
        before = self._journal.offset
        for event in self._journal.poll():
            self.state.apply(event)
            if also is not None:
                also(event)
        if self.phase is Phase.KILLED:
            self.state.end_session("driver gone")
        return self._journal.offset != before

    @property
    def phase(self) -> Phase:
        """Where the run stands."""
        session = self.state.session
        if session is None:
            return Phase.EMPTY if self.driver is None else Phase.RUNNING
        if session.closed is None:
            return Phase.KILLED if self.driver is None else Phase.RUNNING
        match session.reason:
            case "finished":
                return Phase.FINISHED
            case "interrupted":
                return Phase.INTERRUPTED
            case Phase.OUT_OF_TIME:
                return Phase.OUT_OF_TIME
            case _:
                return Phase.ERROR

    @property
    def live(self) -> bool:
        """Whether a driver holds the run."""
        return self.phase is Phase.RUNNING

    @property
    def resume(self) -> str | None:
        """How to continue the run, or None where there is nothing to continue."""
        if self.phase in (Phase.RUNNING, Phase.FINISHED):
            return None
        if "ensemble" in self.asked or (self.directory.path / "job.toml").exists():
            return f"hpcflow resume {self.directory.path}"
        return f"run the same driver again, with Farm(run={str(self.directory.path)!r})"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise JournalError(
            f"cannot read {str(path)!r}: {error.strerror}. Make it readable to you."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JournalError(
            f"cannot read {str(path)!r}: it is no TOML ({error}). Restore it from a copy, or"
            " remove it: the journal holds the run."
        ) from None
