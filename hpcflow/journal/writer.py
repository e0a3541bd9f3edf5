"""The journal's one writer: whole lines, grouped, acknowledged only once they are written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from hpcflow.core.event import Event
from hpcflow.errors import JournalError
from hpcflow.journal.format import encode_line


class JournalWriter:
    """Append events to a journal.

    `append` returns once the kernel has the bytes, which survives `kill -9` of this process;
    `sync` returns once the disk has them, which survives the node.
    """

    def __init__(self, path: Path, *, end: int) -> None:
        """Open the journal for appending.

        Parameters
        ----------
        path
            The journal; made where it does not exist.
        end
            Length of its whole lines [bytes]. A torn line after that is cut off.

        Raises
        ------
        JournalError
            If the file cannot be opened or cut.
        """
        self._path = path
        self._end = end
        self._dirty = False
        self.broken = False
        """Whether a write or a sync has failed: nothing more should be appended."""
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._fd, end)
        except OSError as error:
            raise self._refusal(error) from None

    def append(self, events: Sequence[Event]) -> None:
        """Write the events' lines, all or none.

        Raises
        ------
        JournalError
            If they cannot be written in full (a full disk, a quota). What was written of them
            is taken back, so the journal stays whole.
        """
        data = memoryview(b"".join(map(encode_line, events)))
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._end + written)
        except OSError as error:
            self.broken = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise self._refusal(error) from None
        self._end += written
        self._dirty = True

    def sync(self) -> None:
        """Bring what was appended to the disk.

        Raises
        ------
        JournalError
            If the disk reports that it could not be stored.
        """
        if not self._dirty:
            return
        self._dirty = False
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self.broken = True
            raise self._refusal(error) from None

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._fd)

    def _refusal(self, error: OSError) -> JournalError:
        return JournalError(
            f"cannot write journal {str(self._path)!r}: {error.strerror}. Nothing recorded is"
            " lost: free space or raise the quota, then resume the run."
        )
