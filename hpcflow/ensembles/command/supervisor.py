"""Run one command and leave nothing of it behind: the program between a runner and a command.

A runner starts this file as a program of its own (`python -I -S supervisor.py`, some 20 ms), so
it imports nothing but the standard library. The request comes as JSON on standard input, the
report goes as JSON to standard output.

The command leads a process group of its own, and this process is the subreaper of all its
descendants: those that leave the group are handed to us when their parents die. When the command
has ended, has run past its limit, or our own parent is gone (the kernel then sends us SIGTERM),
whatever is left of it is killed. The command itself dies with us, should we be killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_RECHECK_S = 1.0


def main() -> None:
    """Run the command of the request on standard input and report how it ended."""
    request = json.load(sys.stdin)
    for number in _WATCHED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == request["parent"]:
        json.dump(_supervise(request, libc), sys.stdout)


def _supervise(request: dict[str, Any], libc: ctypes.CDLL) -> dict[str, Any]:
    begin = time.monotonic()
    child, fault = _start(request, libc)
    command = _Command(child)
    limit_s = request["time_limit_s"]
    command.wait(None if limit_s is None else begin + limit_s)
    overran = command.status is None
    if overran:
        os.killpg(child, signal.SIGTERM)
        command.wait(time.monotonic() + request["grace_s"], to_the_last=True)
    seconds = time.monotonic() - begin
    command.kill()
    code = os.waitstatus_to_exitcode(command.status or 0)
    return {"code": code, "overran": overran, "seconds": seconds, "fault": fault}


def _start(request: dict[str, Any], libc: ctypes.CDLL) -> tuple[int, list[Any] | None]:
    """Start the command; return its process id, and error number and path if that failed."""
    reader, writer = os.pipe()
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _become(request, libc, writer=writer, supervisor=supervisor)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        fault = pipe.read()
    return child, json.loads(fault) if fault else None


def _become(
    request: dict[str, Any], libc: ctypes.CDLL, *, writer: int, supervisor: int
) -> NoReturn:
    """Turn this forked child into the command."""
    program, *_ = arguments = request["arguments"]
    subject = request["directory"]
    try:
        os.setpgid(0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        os.chdir(subject)
        for descriptor, subject, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            os.dup2(os.open(subject, flags, 0o600), descriptor)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        subject = program
        os.execvpe(program, arguments, request["environment"])  # noqa: S606  no shell is the point
    except OSError as error:
        os.write(writer, json.dumps([error.errno, subject]).encode())
    finally:
        os._exit(127)


class _Command:
    """The command and all that descends from it."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.status: int | None = None
        """Wait status of the command itself, once it has ended."""

    def _reap(self) -> bool:
        """Take note of every process that has ended; return whether any is left."""
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not ended:
                return True
            if ended == self.child:
                self.status = status

    def wait(self, deadline: float | None, *, to_the_last: bool = False) -> None:
        """Wait for the command, or for its last descendant, but not past the deadline."""
        while self._reap() and (to_the_last or self.status is None):
            if deadline is None:
                received: signal.struct_siginfo | None = signal.sigwaitinfo(_WATCHED)
            else:
                left_s = max(0.0, deadline - time.monotonic())
                received = signal.sigtimedwait(_WATCHED, left_s)
            if received is None:
                return
            if received.si_signo != signal.SIGCHLD:
                self.kill()
                os._exit(1)

    def kill(self) -> None:
        """Kill all that is left; the orphans of those that die become our children in turn."""
        while self._reap():
            if not sum(map(_killed, _children())):
                return
            signal.sigtimedwait({signal.SIGCHLD}, _RECHECK_S)


def _killed(process: int) -> bool:
    try:
        os.kill(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _children() -> list[int]:
    """Return the process ids of our children, as the kernel lists them under /proc."""
    children = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"{entry.path}/stat", "rb") as file:  # noqa: PTH123  pathlib: 6 ms a command
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == os.getpid():
            children.append(int(entry.name))
    return children


if __name__ == "__main__":
    main()
