"""Files for people: written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from hpcflow.errors import JournalError


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` once it is complete.

    It is readable and writable by its owner only. What is no regular file (a pipe, a terminal) is
    written directly.

    Raises
    ------
    JournalError
        If `path` cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as direct:
                yield direct
            return
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
                yield file
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except JournalError:
        raise
    except OSError as error:
        raise JournalError(
            f"cannot write {str(path)!r}: {error.strerror}. Name a file in a directory that you can"
            " write to, with space left."
        ) from None
