"""Read a journal: a live one, a dead one, or a copy. Never locks, never writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpcflow.core.event import AnyEvent
from hpcflow.errors import JournalError
from hpcflow.journal.format import DamagedLineError, decode_line

_TAIL = 65_536
"""How much of a journal's end is looked at for its last event [bytes]."""


class JournalReader:
    """Follow a journal from its beginning; each `poll` continues where the last one stopped.

    A torn last line is left for the next poll: the writer may be in the middle of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes read so far: the end of the last whole line."""
        self._lines = 0

    def poll(self) -> Iterator[AnyEvent]:
        """Yield the events that are whole by now.

        Raises
        ------
        JournalError
            If the file cannot be read, a line before the last one is damaged, or one is of
            another version.
        """
        return (event for _, event in self.poll_offsets())

    def poll_offsets(self) -> Iterator[tuple[int, AnyEvent]]:
        """Yield each event with the offset of its line [bytes]."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise JournalError(
                f"cannot read journal {str(self.path)!r}: {error.strerror}. Name a run directory."
            ) from None
        with file:
            file.seek(self.offset)
            damage: JournalError | None = None
            for line in file:
                if damage is not None:
                    raise damage
                try:
                    if not line.endswith(b"\n"):
                        return
                    event = decode_line(line)
                except DamagedLineError as error:
                    damage = JournalError(
                        f"cannot read journal {str(self.path)!r}: line {self._lines + 1} is"
                        f" damaged: {error}. Restore the file from a copy; the lines before are"
                        " whole."
                    )
                    continue
                except JournalError as error:
                    raise JournalError(
                        f"cannot read journal {str(self.path)!r}: line {self._lines + 1}: {error}."
                        " Use the hpcflow that wrote it, or a newer one."
                    ) from None
                start = self.offset
                self.offset += len(line)
                self._lines += 1
                yield start, event


def read_event(path: Path, offset: int) -> AnyEvent:
    """Return the event whose line starts at `offset` [bytes]."""
    with path.open("rb") as file:
        file.seek(offset)
        return decode_line(file.readline())


def last_event(path: Path) -> AnyEvent | None:
    """Return the last event of a journal, or None where there is none, or only a long one.

    Reads the end of the file alone, and takes a torn line for none.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            tail = file.read()
        return decode_line(tail.splitlines(keepends=True)[-1]) if tail.endswith(b"\n") else None
    except (OSError, JournalError):
        return None


def read_journal(path: Path) -> Iterator[AnyEvent]:
    """Yield every whole event of the journal at `path`, in order.

    Raises
    ------
    JournalError
        If the file cannot be read, a line before the last one is damaged, or one is of another
        version.
    """
    return JournalReader(path).poll()
