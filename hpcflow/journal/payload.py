"""Values too large for the journal: one file each, written whole, checked when read."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

from hpcflow.core.event import PayloadRef
from hpcflow.core.task import Stored
from hpcflow.errors import JournalError

INLINE_LIMIT = 32 << 10
"""A value whose pickle is longer goes to a payload file [bytes]."""


def write_payload(data: bytes, *, run: Path, stage: str, name: str) -> PayloadRef:
    """Write a pickled value into the run directory `run`, and say where.

    It has a temporary name until it is complete, so a reader never meets half a file. Its digest
    is part of its name: a runner that was given up and still runs, of this session or of one that
    was killed, never puts another value in the place of the recorded one.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    digest = _digest(data)
    path = run / "payloads" / stage / f"{name}.{digest[:12]}.pickle"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)  # the journal may name it only once it is there, whatever the node does
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return PayloadRef(file=str(path.relative_to(run)), size=len(data), digest=digest)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _read_payload(run: Path, ref: PayloadRef) -> bytes:
    path = run / ref.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(
            f"cannot read payload {str(path)!r}: {error.strerror}. Restore it from a copy."
        ) from None
    if _digest(data) != ref.digest:
        raise JournalError(
            f"cannot read payload {str(path)!r}: its digest is not the one in the journal."
            " Restore it from a copy."
        )
    return data


def check_payload(run: Path, ref: PayloadRef) -> str | None:
    """Return what is wrong with a payload file, or None."""
    try:
        _read_payload(run, ref)
    except JournalError as error:
        return str(error)
    return None


class Payload(Stored):
    """A value in a payload file; opened only on request."""

    __slots__ = ("_ref", "_run")

    def __init__(self, run: Path, ref: PayloadRef) -> None:
        self._run = run
        self._ref = ref

    def load(self) -> Any:
        """Read, check and unpickle the value.

        Raises
        ------
        JournalError
            If the file is gone, or is not the one that was recorded.
        """
        return pickle.loads(_read_payload(self._run, self._ref))

    def __repr__(self) -> str:
        return f"Payload({self._ref.file!r}, {self._ref.size} bytes)"
