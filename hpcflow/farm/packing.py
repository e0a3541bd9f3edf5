"""What tasks have come to, on its way out of a runner: plain, pickled, in a file, or wrecked."""

from __future__ import annotations

import math
import pickle
import time
import traceback
from array import array
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec

from hpcflow.core.event import PayloadRef
from hpcflow.core.plain import is_plain
from hpcflow.core.task import Cause
from hpcflow.farm.context import RunningChunk, current
from hpcflow.farm.results import pickle_result
from hpcflow.farm.wire import STORAGE, Result, Wreck
from hpcflow.journal.payload import INLINE_LIMIT, write_payload

FLUSH_S = 0.02
"""Outcomes wait at most about this long for the rest of their chunk [s]."""
LONGEST_TEXT = 20_000
"""Characters kept of an error's message and of its traceback."""
LARGEST_ERROR = 65_536
"""Longest pickle of an exception that travels with its text [bytes]."""
_SHORT = 1024
SIMPLE = frozenset({int, float, bool, NoneType})
"""Classes of most values, which never change: they are looked at together, when they are sent."""
_PLAIN = frozenset({bool, NoneType, str, msgspec.Raw})
"""Classes of what travels as it is without a further look, once it is among the outcomes."""

_OURS = frozenset(str(Path(__file__).with_name(name)) for name in ("runner.py", "packing.py"))
"""Files of the code that runs a task."""


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's class, message and traceback as text, whatever its methods do."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001  # __str__ is the user's code
        message = f"(its message cannot be shown: {type(broken).__name__})"
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _OURS:
        frames = frames.tb_next  # how the runner came to the user's code tells them nothing
    try:
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception:  # noqa: BLE001  # so is whatever the traceback shows
        text = "".join(traceback.format_tb(frames))
    return name, _readable(message[:LONGEST_TEXT]), _readable(text[-LONGEST_TEXT:])


def _readable(text: str) -> str:
    """Return text that has a UTF-8 form: a message may hold half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


class UnopenedError(Exception):
    """A task's function or input cannot be opened."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


class _UnpicklableError(Exception):
    """The value that a task returned cannot travel."""


class _UnstorableError(Exception):
    """The value that a task returned cannot be written: the run's trouble, not the task's."""


class Outcomes:
    """What the tasks of a chunk have come to, until it is sent.

    The main thread appends each value, or what travels in its place, and then the lap that says
    that the task has ended: whoever takes as many values as there are laps takes whole outcomes.
    """

    def __init__(self, chunk: RunningChunk) -> None:
        self.chunk = chunk
        self.values: list[Any] = []
        """Those that have not been taken."""
        self.due = chunk.laps[0] + FLUSH_S
        """When to take what there is; a task that ends later is taken at once [s, monotonic]."""
        self._taken = 0

    def pack(self, value: Any) -> Any:
        """Return what travels in place of the value of the task that runs."""
        return _pack(value, self.chunk, len(self.chunk.laps) - 1)

    def take(self) -> Result:
        """Return the outcomes of the tasks that have ended, and keep them no longer."""
        laps = self.chunk.laps[self._taken :]
        count = len(laps) - 1
        values = self.values[:count]
        del self.values[:count]
        offset = time.time() - time.monotonic()
        result = Result(
            chunk=self.chunk.work.chunk,
            values=values,
            laps=array("d", [lap + offset for lap in laps]).tobytes(),
        )
        if not _are_plain(values):
            self._sort(result)
        self._taken += count
        self.due = laps[-1] + FLUSH_S
        return result

    def _sort(self, result: Result) -> None:
        """Give what is no plain value its own column."""
        for index, value in enumerate(result.values):
            odd = type(value) in SIMPLE and not is_plain(value)
            match _pack(value, self.chunk, self._taken + index) if odd else value:
                case bytes() as pickled:
                    result.pickles[index] = pickled
                case PayloadRef() as stored:
                    result.payloads[index] = stored
                case Wreck() as wreck:
                    result.wrecks[index] = wreck
                case _:
                    continue
            result.values[index] = None


def open_pickle(blob: bytes) -> Any:
    """Open a function or an input.

    Raises
    ------
    UnopenedError
        If that fails, for whatever reason.
    """
    try:
        return pickle.loads(blob)
    except BaseException as error:
        raise UnopenedError(error) from error


def wreck_of(error: BaseException) -> Wreck:
    """Return what is told of an exception that came out of a task."""
    if isinstance(error, UnopenedError):
        return _described(Cause.INPUT, error.reason)
    return _described(Cause.EXCEPTION, error, pickled=_pickle_error(error))


def _described(cause: str, error: BaseException, pickled: bytes = b"") -> Wreck:
    kind, message, text = describe(error)
    return Wreck(cause=cause, type=kind, message=message, traceback=text, pickled=pickled)


def _pickle_error(error: BaseException) -> bytes:
    """Return the exception's pickle; nothing where it has none, or one that is too large."""
    try:
        data = pickle_result(error)
    except BaseException:  # noqa: BLE001  # pickling calls the methods of the user's exception
        return b""
    return data if len(data) <= LARGEST_ERROR else b""


def _are_plain(values: list[Any]) -> bool:
    """Return whether all of these travel as they are. False only costs a closer look."""
    kinds = set(map(type, values))
    if not kinds <= SIMPLE:
        return kinds <= _PLAIN
    numbers = list(filter(None, values))
    if not numbers:
        return True
    try:  # an infinity or NaN shows in the sum
        return math.isfinite(sum(numbers)) and min(numbers) >= -(2**63) and max(numbers) < 2**64
    except OverflowError:  # an integer that no float holds
        return False


def _pack(value: Any, chunk: RunningChunk, index: int) -> Any:
    """Return what travels in place of a value that a task of a chunk has returned."""
    try:
        if not _is_small_plain(value):
            return _store(value, chunk, index)
        if type(value) is str:
            return value
        return msgspec.Raw(msgspec.msgpack.encode(value))  # as it is now: the next task may add
    except _UnstorableError as error:
        return _described(STORAGE, error)
    except BaseException as error:  # noqa: BLE001  # pickling calls the methods of the user's value
        return _described(Cause.RESULT, error)


def _is_small_plain(value: Any) -> bool:
    if type(value) is str and len(value) < _SHORT:
        return is_plain(value)
    try:
        return is_plain(value) and len(msgspec.json.encode(value)) <= INLINE_LIMIT
    except RecursionError:
        return False


def _store(value: Any, chunk: RunningChunk, index: int) -> bytes | PayloadRef:
    try:
        data = pickle_result(value)
    except Exception as error:
        raise _UnpicklableError(
            f"cannot return a {type(value).__qualname__} from a task: it cannot be pickled"
            f" ({error}). Return its data instead, or write it to current_task().directory."
        ) from error
    assert current.runner is not None, "tasks come after the setup"
    run = current.runner.run_directory
    if run is None or len(data) <= INLINE_LIMIT:
        return data
    name = f"{chunk.keys[index]}.{chunk.work.attempt}"
    try:
        return write_payload(data, run=run, stage=chunk.work.stage, name=name)
    except OSError as error:
        raise _UnstorableError(
            f"cannot store the value of task {chunk.keys[index]!r} under"
            f" {str(run / 'payloads')!r}: {error.strerror}. Free space, then resume the run."
        ) from error
