"""A batch job's farm whose steps are started by hand."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcflow.journal.directory import RunDirectory

DRIVER = """
import os

from hpcflow import Farm, FarmError

try:
    with Farm() as farm:
        farm.wait_for_slots(timeout_s=float(os.environ.get("HPCFLOW_TEST_WAIT_S", "60")))
except FarmError as error:
    print(error)
"""


class Site:
    """A run directory whose scheduler and workers are started by hand, as a batch script does."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory(path / "run")
        self._path = path

    def command(self, *words: str, **environment: str) -> dict[str, Any]:
        return {
            "args": [sys.executable, "-P", *words],
            "env": {**os.environ, **environment},
            "cwd": self._path,
            "text": True,
        }

    @contextlib.contextmanager
    def start(
        self, step: str, *options: str, **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start `hpcflow scheduler` or `hpcflow worker`, and end it in the end."""
        words = ("-m", "hpcflow", step, "--run", str(self.run.path), "--interface", "lo", *options)
        with (self._path / f"{step}.log").open("a") as log:
            process = subprocess.Popen(
                **self.command(*words, **environment), stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)

    def log(self, step: str) -> str:
        return (self._path / f"{step}.log").read_text()

    def wait(self, *, slots: int) -> subprocess.CompletedProcess[str]:
        words = ("-m", "hpcflow", "wait", "--run", str(self.run.path), "--limit", "2m")
        return subprocess.run(
            **self.command(*words, "--slots", str(slots)),
            capture_output=True,
            check=False,
            timeout=120,
        )

    def drive(self, **environment: str) -> str:
        """Run a driver in the batch job, and return what it prints: why it has not all slots."""
        slots = f"cpu:{len(os.sched_getaffinity(0))}"
        told = {"HPCFLOW_SLOTS": slots, **environment, "HPCFLOW_RUN": str(self.run.path)}
        done = subprocess.run(
            **self.command("-c", DRIVER, **told), capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        said: str = done.stdout
        return said
