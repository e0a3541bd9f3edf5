"""One writer a run: a lock that the kernel releases when its holder dies.

An open-file-description record lock (fcntl(2), F_OFD_SETLK) is used because it holds across the
nodes of a POSIX-coherent parallel file system, excludes a second Farm in the same process too, and
is not dropped when somebody else in the process closes the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import weakref
from dataclasses import dataclass

import msgspec

from hpcflow.errors import JournalError, RequestError
from hpcflow.journal.directory import RunDirectory

_BUSY = (errno.EACCES, errno.EAGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that writes a run now."""

    host: str
    pid: int


def _request(kind: int) -> bytes:
    """Return `struct flock` for the whole file, padded to the kernel's size."""
    return struct.pack("hhllh", kind, os.SEEK_SET, 0, 0, 0).ljust(64, b"\0")


def _read(fd: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Holder)
    except msgspec.MsgspecError:
        return None


class RunLock:
    """Held from `acquire` to `release`, or to the death of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _LIVE.add(self)

    @classmethod
    def acquire(cls, directory: RunDirectory) -> RunLock:
        """Become the run's one writer.

        Raises
        ------
        RequestError
            If another driver writes it: names its host and process id.
        JournalError
            If the file system cannot lock, or the file cannot be made.
        """
        try:
            fd = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(
                f"cannot write run directory {str(directory.path)!r}: {error.strerror}."
                " Choose a path you can write to."
            ) from None
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
            me = Holder(host=socket.gethostname(), pid=os.getpid())
            os.ftruncate(fd, 0)
            os.pwrite(fd, msgspec.json.encode(me) + b"\n", 0)
        except OSError as error:
            who = _read(fd)
            os.close(fd)
            if error.errno not in _BUSY:
                raise JournalError(
                    f"cannot lock {str(directory.lock)!r}: {error.strerror}. Use a file system"
                    " with space and POSIX locks."
                ) from None
            writer = f"process {who.pid} on host {who.host}" if who else "another process"
            raise RequestError(
                f"cannot open run {str(directory.path)!r}: {writer} is writing it. Wait for it"
                " to end, stop it, or use another run directory."
            ) from None
        return cls(fd)

    def release(self) -> None:
        """Let go."""
        _LIVE.discard(self)
        os.close(self._fd)


def holder(directory: RunDirectory) -> Holder | None:
    """Return who writes the run now, or None. Does not lock, and needs no write access."""
    try:
        fd = os.open(directory.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_RDLCK))
        kind = struct.unpack("h", answer[:2])[0]
        return None if kind == fcntl.F_UNLCK else _read(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


_LIVE: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Let a forked child hold no run: the lock would outlive the driver in it."""
    for lock in list(_LIVE):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
