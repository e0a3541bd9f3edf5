from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow.errors import JournalError, RequestError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import Holder, RunLock, holder

# Holds the lock until its standard input ends.
HOLD = """
import sys
from pathlib import Path
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import RunLock

lock = RunLock.acquire(RunDirectory(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


@pytest.fixture
def other(directory: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """Return a process that writes the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def me() -> Holder:
    return Holder(host=socket.gethostname(), pid=os.getpid())


def test_nobody_holds_a_new_run(directory: RunDirectory) -> None:
    assert holder(directory) is None


def test_the_holder_is_known_while_it_holds(directory: RunDirectory) -> None:
    lock = RunLock.acquire(directory)
    assert holder(directory) == me()
    lock.release()
    assert holder(directory) is None


def test_the_lock_file_is_private_and_names_nobody_else(directory: RunDirectory) -> None:
    before = os.umask(0)
    try:
        RunLock.acquire(directory).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.lock.stat().st_mode) == 0o600
    directory.lock.write_text("x" * 1000)
    lock = RunLock.acquire(directory)
    assert holder(directory) == me()
    lock.release()


def test_a_run_has_one_writer_even_within_a_process(directory: RunDirectory) -> None:
    lock = RunLock.acquire(directory)
    with pytest.raises(RequestError, match=f"process {os.getpid()} on host"):
        RunLock.acquire(directory)
    assert holder(directory) == me()
    lock.release()
    RunLock.acquire(directory).release()


def test_opening_and_closing_the_file_elsewhere_does_not_drop_the_lock(
    directory: RunDirectory,
) -> None:
    lock = RunLock.acquire(directory)
    directory.lock.read_bytes()
    with pytest.raises(RequestError):
        RunLock.acquire(directory)
    assert holder(directory) == me()
    lock.release()


def test_a_second_process_is_refused_and_told_who_writes(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        RunLock.acquire(directory)
    assert str(caught.value) == (
        f"cannot open run {str(directory.path)!r}: process {other.pid} on host"
        f" {socket.gethostname()} is writing it. Wait for it to end, stop it, or use another run"
        " directory."
    )


def test_another_process_can_ask_who_writes(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    assert holder(directory) == Holder(host=socket.gethostname(), pid=other.pid)


def test_asking_needs_no_write_access(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    directory.lock.chmod(0o400)
    assert holder(directory) == Holder(host=socket.gethostname(), pid=other.pid)


def test_asking_leaves_the_lock_to_others(directory: RunDirectory) -> None:
    RunLock.acquire(directory).release()
    assert holder(directory) is None
    RunLock.acquire(directory).release()


def test_a_killed_writer_leaves_the_run_free(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    other.kill()
    other.wait()
    assert str(other.pid) in directory.lock.read_text()
    assert holder(directory) is None
    lock = RunLock.acquire(directory)
    assert holder(directory) == me()
    lock.release()


def test_a_writer_that_ends_leaves_the_run_free(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    assert other.stdin is not None
    other.stdin.close()
    assert other.wait() == 0
    assert holder(directory) is None


def test_programs_that_the_holder_starts_do_not_hold_the_run(directory: RunDirectory) -> None:
    lock = RunLock.acquire(directory)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.release()
        assert holder(directory) is None


def test_a_forked_child_that_outlives_the_holder_does_not_hold_the_run(
    directory: RunDirectory,
) -> None:
    lock = RunLock.acquire(directory)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            theirs.send(b"up")
            theirs.recv(1)
            os._exit(0)
        ours.recv(2)
        held = holder(directory)
        lock.release()
        after = holder(directory)
        ours.send(b"!")
        os.waitpid(child, 0)
    assert held == me()
    assert after is None


def test_a_holder_whose_name_cannot_be_read_is_still_refused(directory: RunDirectory) -> None:
    lock = RunLock.acquire(directory)
    directory.lock.write_text("?")
    with pytest.raises(RequestError, match="another process is writing it"):
        RunLock.acquire(directory)
    lock.release()


def test_a_run_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot write run directory .*: No such file or dir"):
        RunLock.acquire(RunDirectory(tmp_path / "missing"))
    assert holder(RunDirectory(tmp_path / "missing")) is None
