"""What can go wrong before, around and beneath tasks.

A task's own failure is never one of these in the driver: it is an outcome
(`hpcflow.core.task.Failed`), and raises `TaskError` only where `outcome.result()` asks for it.

    HpcflowError
    ├── RequestError (ValueError)   what was asked cannot be done; nothing was started
    ├── BatchSystemError (OSError)  the batch system refused, or could not be reached
    ├── JournalError (OSError)      the run directory cannot be read, written or trusted
    └── FarmError (RuntimeError)    the farm's own processes failed, or it is closed
        ├── WallTimeError           no task fits in the time that the batch job has left
        ├── TaskError               raised by `outcome.result()` of a task that did not succeed
        └── BrokenFarmError (BrokenExecutor)  the farm of an executor or a stream is gone

Every message has one form: `cannot <what was asked>: <the rule that failed>. <what to change>.`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor


class HpcflowError(Exception):
    """Base of every error that hpcflow raises on purpose."""


class RequestError(HpcflowError, ValueError):
    """The request cannot be met as it was put; nothing was started or overwritten."""


class BatchSystemError(HpcflowError, OSError):
    """A command of the batch system failed.

    Attributes
    ----------
    command
        The command and its arguments.
    exit_code
        How it ended; None where it could not be started or did not end.
    stderr
        What it printed, in its own words.
    transient
        Whether the same command may succeed later: the batch system was busy or out of reach.
    """

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str],
        exit_code: int | None,
        stderr: str,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.exit_code = exit_code
        self.stderr = stderr
        self.transient = transient


class JournalError(HpcflowError, OSError):
    """The durable record of a run cannot be read, written or trusted."""


class FarmError(HpcflowError, RuntimeError):
    """The farm itself (scheduler, workers, slots) failed, not a task."""


class WallTimeError(FarmError):
    """The batch job ends too soon for any task that is left; what came back is recorded."""


class TaskError(FarmError):
    """A task did not succeed and its result was asked for."""


class BrokenFarmError(FarmError, BrokenExecutor):
    """The farm has failed or was closed: an executor's call cannot end, a stream takes no task."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`-style help for a misspelt name, or the list of known names.

    Parameters
    ----------
    name
        What was written.
    known
        What could have been written.

    Examples
    --------
    >>> nearest("timestep", ["timestep_fs", "temperature_k"])
    "did you mean 'timestep_fs'?"
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    candidates = sorted(known)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(candidates)}"


def hint(name: str, known: Iterable[str]) -> str:
    """Return the help of `nearest` as the end of a sentence.

    Examples
    --------
    >>> hint("timestep", ["timestep_fs", "temperature_k"]), hint("zzz", ["b", "a"])
    ("did you mean 'timestep_fs'?", 'known: a, b.')
    """
    help_ = nearest(name, known)
    return help_ if help_.endswith("?") else f"{help_}."
