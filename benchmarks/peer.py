"""Processes of a benchmark that wait for their start, and say how far they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


class Peer:
    """A process that says how far it is, a line each, on its output."""

    def __init__(self, *arguments: str | Path, log: Path, environment: Mapping[str, str]) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=ROOT,
                env=environment_with(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def wait_for(self, word: str) -> None:
        """Wait until it says a word."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"{line!r} instead of {word!r}: {self._log.read_text()[-2000:]}")

    def begin(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)

    def cpu_s(self) -> float:
        """Return the processor time that it has used, without its children [s]."""
        return _used_s(psutil.Process(self.process.pid))

    def runners_s(self) -> float:
        """Return the processor time that its children have used [s]."""
        return sum(_used_s(child) for child in psutil.Process(self.process.pid).children())

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def environment_with(further: Mapping[str, str]) -> dict[str, str]:
    """Return our environment and more; Python keeps its bytecode, as that of installed code is."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, **further}


def cpu_s(peers: Sequence[Peer]) -> float:
    """Return the processor time that processes have used, without their children [s]."""
    return sum(peer.cpu_s() for peer in peers)


def wait_for_the_start() -> None:
    """Say that this process is ready, and wait until it may begin."""
    print("ready", flush=True)
    sys.stdin.readline()
