"""Keep an interrupt, and Dask's own words, out of where they would do harm."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from hpcflow.errors import RequestError


@contextlib.contextmanager
def late_interrupt() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done, and raise it then; a second one breaks in.

    Dask's client cannot be interrupted while it starts: its thread would be left behind. Outside
    the main thread, or where SIGINT is not Python's own, this does nothing.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    held = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal held
        if held:
            signal.default_int_handler(number, frame)
        held = True

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if held:
        raise KeyboardInterrupt


@contextlib.contextmanager
def kept_interrupt() -> Iterator[None]:
    """Undo what an import in the block does to Ctrl-C.

    `dask_jobqueue.runner` makes it a silent end with exit code 0 when it is imported.

    Raises
    ------
    RequestError
        If that import comes first in another thread than the main one, where Python refuses it.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except ValueError as error:
        raise RequestError(
            f"cannot import dask-jobqueue in this thread: {error}. Import it in the main thread"
            " before, or open the farm there."
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def quiet_dask() -> Iterator[None]:
    """Let Dask say nothing of connections that close because the farm does."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]  # Dask sets one for each of them
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
