"""Ctrl-C, SIGTERM and a closed terminal ask for the same: stop in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal to stop; answer further ones with a line.

    A signal that was ignored when we were started (SIGHUP under nohup) stays ignored.
    """
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for other in heeded:
            signal.signal(other, _answer)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answer(_number: int, _frame: FrameType | None) -> None:
    line = f"still stopping; `kill -9 {os.getpid()}` ends it at once, and loses nothing recorded\n"
    os.write(2, line.encode())
