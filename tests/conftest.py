"""Shared by all tests: none may leave a process behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psutil
import pytest

MARK = ("HPCFLOW_TESTED_BY", uuid.uuid4().hex)
"""Stands in the environment of every process that a test starts, orphans included."""

END_WITHIN_S = 15.0
"""How long processes may take to end after their test [s]."""

os.environ.update([MARK])


@pytest.fixture(autouse=True)
def _no_process_is_left_behind() -> Iterator[None]:
    before = set(_started())
    yield
    left = [process for process in _started() if not _belongs_to(process, before)]
    _, alive = psutil.wait_procs(left, timeout=END_WITHIN_S)
    if alive:
        described = "\n".join(_describe(process) for process in alive)
        _kill(alive)
        pytest.fail(f"{len(alive)} processes still ran {END_WITHIN_S:g} s later:\n{described}")


def _started() -> list[psutil.Process]:
    """Return what runs and was started from here, directly or not."""
    children = psutil.Process().children(recursive=True)
    orphans = [process for process in psutil.process_iter() if _is_marked(process)]
    return [process for process in {*children, *orphans} if _runs(process)]


def _is_marked(process: psutil.Process) -> bool:
    name, value = MARK
    try:
        return process.environ().get(name) == value
    except (psutil.Error, OSError):  # it ended meanwhile, or is somebody else's
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and not _serves_multiprocessing(process)
    except psutil.NoSuchProcess:
        return False


def _serves_multiprocessing(process: psutil.Process) -> bool:
    """Say whether it is the resource tracker, which Python starts once and keeps to its end."""
    return "multiprocessing.resource_tracker" in " ".join(process.cmdline())


def _belongs_to(process: psutil.Process, before: set[psutil.Process]) -> bool:
    """Say whether it, or what it descends from, was there before: a farm shared by tests."""
    try:
        return not before.isdisjoint([process, *process.parents()])
    except psutil.NoSuchProcess:
        return True


def _describe(process: psutil.Process) -> str:
    try:
        return f"  {process.pid}: {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"  {process.pid}: ended meanwhile"


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=END_WITHIN_S)
