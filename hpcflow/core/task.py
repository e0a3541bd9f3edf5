"""Tasks, their names, and the three ways in which a task ends."""

from __future__ import annotations

import enum
import hashlib
import pickle
from abc import ABC, abstractmethod
from typing import Any, NoReturn

import msgspec

from hpcflow.errors import RequestError, TaskError

LONGEST_KEY = 200
"""Longest task key [bytes of UTF-8]: a key names a directory, and file systems stop at 255."""


class Cause(enum.StrEnum):
    """Why an attempt did not succeed."""

    EXCEPTION = "exception"
    """The function raised."""
    SIGNAL = "signal"
    """The runner was killed by a signal while it ran the task (a segfault, the OOM killer)."""
    EXIT = "exit"
    """The function ended its process (`os._exit`)."""
    TIME_LIMIT = "time limit"
    """The task ran past its time limit and was killed."""
    RESULT = "result"
    """The function returned something that cannot be pickled or stored."""
    INPUT = "input"
    """The runner could not rebuild the function or its input (a module it cannot import)."""
    SLOT_LOST = "slot lost"
    """The slot vanished with the task on it (its node or worker died); not the task's doing."""


class RemoteTraceback(Exception):  # noqa: N818  # it is not raised: it shows where another was
    """The cause of an exception that was raised in a runner: the traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class ErrorText(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as text: it can be read where its class cannot be imported."""

    type: str
    """Qualified name of the exception's class."""
    message: str
    traceback: str
    pickled: bytes = b""
    """The exception itself, pickled; empty where the task raised none, or one that is too large or
    cannot be pickled."""

    def rebuild(self) -> BaseException | None:
        """Return the exception itself with the remote traceback as its cause, if it can be rebuilt.

        It is unpickled at every call; None where there is no pickle, or its class cannot be had
        here.
        """
        if not self.pickled:
            return None
        try:
            error = pickle.loads(self.pickled)
        except Exception:  # noqa: BLE001  # unpickling calls the user's own methods
            return None
        if not isinstance(error, BaseException):
            return None
        error.__cause__ = RemoteTraceback(self.traceback)
        return error


class Stored(ABC):
    """A value that is held as bytes until somebody asks for it."""

    @abstractmethod
    def load(self) -> Any:
        """Return the value.

        Raises
        ------
        Exception
            Whatever rebuilding the value raises: its class may not be importable here.
        """


class Pickled(Stored):
    """A value held as its pickle; opened only on request."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def load(self) -> Any:
        """Unpickle and return the value."""
        return pickle.loads(self.data)

    def __repr__(self) -> str:
        return f"Pickled({len(self.data)} bytes)"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What every outcome says, however its task ended. Times are seconds since the epoch."""

    key: str
    stage: str
    attempt: int
    """Which try this was, from 1."""
    host: str
    worker: str
    """Name of the Dask worker."""
    slot: str
    device: str
    """What the slot was pinned to, such as `cpu` or a GPU's UUID."""
    created: float
    """When the task was read from its iterable or submitted to its stream."""
    submitted: float
    """When it was sent to the slot."""
    started: float
    finished: float
    collected: float
    """When the client had it back."""
    replayed: bool = False
    """Whether it was read back from the journal instead of run in this session."""

    @property
    def duration_s(self) -> float:
        """Time from start to finish [s]."""
        return self.finished - self.started


class Succeeded(Outcome, frozen=True, kw_only=True, tag="succeeded"):
    """The function returned."""

    stored: Any
    """The value itself where it is plain, otherwise a `Stored`; read `value`."""

    @property
    def value(self) -> Any:
        """The returned value; unpickled at the first and every later access."""
        return self.stored.load() if isinstance(self.stored, Stored) else self.stored

    def result(self) -> Any:
        """Return the value, as `concurrent.futures.Future.result` would."""
        return self.value

    def exception(self) -> None:
        """Return None: nothing was raised."""
        return


class Failed(Outcome, frozen=True, kw_only=True, tag="failed"):
    """The task itself is to blame: it raised, crashed, overran, or returned what cannot travel."""

    cause: Cause
    error: ErrorText

    def result(self) -> NoReturn:
        """Raise `TaskError` with the cause, the message and the remote traceback."""
        raise self._task_error()

    def exception(self) -> BaseException:
        """Return what the task raised, with the remote traceback as its cause.

        Where it raised nothing (it crashed, or ran past its limit), or something that cannot be
        rebuilt here, it is the `TaskError` that `result` raises. The pickle is opened now: do so
        for runs that you trust.
        """
        error = self.error.rebuild()
        return self._task_error() if error is None else error

    def _task_error(self) -> TaskError:
        return TaskError(
            f"task {self.key!r} of stage {self.stage!r} failed on slot {self.slot} in attempt"
            f" {self.attempt} ({self.cause}): {self.error.type}: {self.error.message}\n"
            f"{self.error.traceback}"
        )


class Lost(Outcome, frozen=True, kw_only=True, tag="lost"):
    """The task was never seen to end: its slots vanished under it too many times."""

    cause: Cause
    error: ErrorText

    def result(self) -> NoReturn:
        """Raise `TaskError`: there is no value."""
        raise self.exception()

    def exception(self) -> TaskError:
        """Return the `TaskError` that `result` raises."""
        return TaskError(
            f"task {self.key!r} of stage {self.stage!r} was lost in attempt {self.attempt}:"
            f" {self.error.message}"
        )


AnyOutcome = Succeeded | Failed | Lost


def check_key(key: object) -> str:
    """Return `key` if it can name a task, else raise.

    A key names the task's directory and stands in the journal, so it is a non-empty string of at
    most `LONGEST_KEY` bytes without `/`, control characters or line separators, and not `.` or
    `..`.

    Raises
    ------
    RequestError
        If it is anything else.

    Examples
    --------
    >>> check_key("replica-3")
    'replica-3'
    >>> check_key("a/b")
    Traceback (most recent call last):
    hpcflow.errors.RequestError: cannot name a task 'a/b': a key has no '/', control character \
or line separator. Replace '/'.
    """
    if not isinstance(key, str):
        raise RequestError(
            f"cannot name a task {key!r}: a key is a string, not {type(key).__name__}."
            " Let the key function return str."
        )
    for character in key:
        if character == "/" or not character.isprintable():
            raise RequestError(
                f"cannot name a task {key!r}: a key has no '/', control character or line"
                f" separator. Replace {character!r}."
            )
    if key in ("", ".", ".."):
        raise RequestError(f"cannot name a task {key!r}: it names a directory. Choose another key.")
    if len(key.encode("utf-8", "replace")) > LONGEST_KEY:
        raise RequestError(
            f"cannot name a task {key[:40]!r}...: a key has at most {LONGEST_KEY} bytes."
            " Shorten it, or use a digest."
        )
    return key


def task_seed(run_seed: int, stage: str, key: str) -> int:
    """Return the task's random seed: the same wherever and whenever the task runs.

    It is the first 63 bits of the BLAKE2b digest of the three names, so seeds of different tasks
    are independent for every practical purpose.

    Examples
    --------
    >>> task_seed(2022, "simulate", "r000") == task_seed(2022, "simulate", "r000")
    True
    """
    name = f"{run_seed}\0{stage}\0{key}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1
