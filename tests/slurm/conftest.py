"""A real Slurm for the tests in this directory: four virtual nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parent / "cluster"
NODES = 4
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
_JOBS_END_WITHIN_S = 30.0


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Start Slurm, yield its configuration file, and stop it."""
    reason = _why_not()
    if reason is not None and "CI" in os.environ:
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)
    # Not under pytest's own directory: the path of a socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        ports = [str(port) for port in _free_ports(1 + NODES)]
        _call(CLUSTER / "up.sh", str(directory), *ports)
        yield directory / "slurm.conf"
    finally:
        _call(CLUSTER / "down.sh", str(directory))
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _slurm(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test's commands find the Slurm, and leave it no job."""
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    yield
    deadline = time.monotonic() + _JOBS_END_WITHIN_S
    subprocess.run(["scancel", "--user=root"], check=True, timeout=_JOBS_END_WITHIN_S)
    while subprocess.check_output(["squeue", "--noheader"], timeout=_JOBS_END_WITHIN_S):
        assert time.monotonic() < deadline, "a batch job has not ended"
        time.sleep(0.1)


def _why_not() -> str | None:
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"a real Slurm needs programs that are not installed: {', '.join(missing)}"
    return "a real Slurm on one machine needs root" if os.geteuid() != 0 else None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _call(script: Path, *arguments: str) -> None:
    """Run a script to its end; its output goes to a file, which daemons may keep open."""
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.call(
            [script, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        output.seek(0)
        assert code == 0, f"{script.name} ended with {code} and said:\n{output.read()}"
