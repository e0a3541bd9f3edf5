"""Files and directories that are their user's alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from hpcflow.errors import JournalError, RequestError

_SCRATCH = "Set HPCFLOW_SCRATCH, or TMPDIR, to a directory of your own."


def write_private(path: Path, data: str | bytes, *, mode: int = 0o600) -> None:
    """Write a file that only the user can read, whole or not at all.

    It has a temporary name until it is complete, and takes the place of a file that is there.

    Parameters
    ----------
    path
        The file. Its directory must be the user's own.
    data
        Its content; text is written as UTF-8.
    mode
        Its permissions, whatever the umask.

    Raises
    ------
    JournalError
        If it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
    except OSError as error:
        raise JournalError(
            f"cannot write {str(path)!r}: {error.strerror}. Free space, or choose another run"
            " directory."
        ) from None


def check_own(path: Path, *, what: str, remedy: str) -> None:
    """Refuse a directory in which somebody else could put something in place of ours.

    Root's directories are trusted, and those that everybody may write are if they are sticky, as
    `/tmp` is: nobody can move what is another's there.

    Parameters
    ----------
    path
        The directory.
    what
        What it is to be, for the message.
    remedy
        What to do about it, for the message.

    Raises
    ------
    RequestError
        If it is a symbolic link, no directory, another user's, or open to everybody.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise _refused(path, what, rule=str(error.strerror), remedy=remedy) from None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        raise _refused(path, what, rule="it is a symbolic link", remedy=remedy)
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(path, what, rule="it is not a directory", remedy=remedy)
    if status.st_uid not in {0, os.geteuid()}:
        rule = f"it belongs to user {status.st_uid}, and you are {os.geteuid()}"
        raise _refused(path, what, rule=rule, remedy=remedy)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        rule = f"everybody may write to it (mode {mode:04o})"
        raise _refused(path, what, rule=rule, remedy=remedy)


def make_scratch(base: Path | None) -> Path:
    """Make a new directory for scratch files, which nobody else can look into, and return it.

    Parameters
    ----------
    base
        Where to make it: a node-local directory, which is made, too, if need be. The system's
        temporary one if None.

    Raises
    ------
    RequestError
        If that place is not ours to use: see `check_own`.
    """
    what = "scratch directory"
    try:
        place = (Path(tempfile.gettempdir()) if base is None else base).absolute()
    except FileNotFoundError as error:  # with the list of what was tried
        raise RequestError(f"cannot use any {what}: {error.strerror}. {_SCRATCH}") from None
    try:
        for directory in (*reversed(place.parents), place):  # all that is made is private
            if not directory.exists() and not directory.is_symlink():
                directory.mkdir(mode=0o700, exist_ok=True)
        check_own(place, what=what, remedy=_SCRATCH)
        return Path(tempfile.mkdtemp(prefix="hpcflow-", dir=place))
    except OSError as error:
        raise _refused(place, what, rule=str(error.strerror), remedy=_SCRATCH) from None


def _refused(path: Path, what: str, *, rule: str, remedy: str) -> RequestError:
    return RequestError(f"cannot use {str(path)!r} as {what}: {rule}. {remedy}")
