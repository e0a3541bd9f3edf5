"""Values too large for the journal: one file each, written whole, checked when read."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

from hpcflow.core.event import PayloadRef
from hpcflow.core.task import Stored
from hpcflow.errors import JournalError

INLINE_LIMIT = 32 << 10
"""A value whose pickle is longer goes to a payload file [bytes]."""


def write_payload(data: bytes, *, run: Path, stage: str, name: str) -> PayloadRef:
    """Write a pickled value into the run directory `run`, and say where.

    It has a temporary name until it is complete, so a reader never meets half a file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = run / "payloads" / stage / f"{name}.pickle"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return PayloadRef(file=str(path.relative_to(run)), size=len(data), digest=digest)


def _read_payload(run: Path, ref: PayloadRef) -> bytes:
    path = run / ref.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(
            f"cannot read payload {str(path)!r}: {error.strerror}. Restore it from a copy."
        ) from None
    if hashlib.blake2b(data, digest_size=16).hexdigest() != ref.digest:
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
