"""Files that only their user can read."""

from __future__ import annotations

import os
from pathlib import Path

from hpcflow.errors import JournalError


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
