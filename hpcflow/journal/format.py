"""A journal line: one event as JSON, with a version and a checksum.

    {"v":1,"crc":"9ab3c1d2","e":{"event":"slot-joined",...}}

The CRC-32 covers the event's bytes exactly as they stand in the line. A line is whole or it is
not there: a torn one at the end of the file (a writer that was killed, a full disk) is ignored.
A whole line of another version is not: what a newer hpcflow recorded is never cut off.
"""

from __future__ import annotations

import zlib

import msgspec

from hpcflow.core.event import AnyEvent, Event
from hpcflow.errors import JournalError

JOURNAL_VERSION = 1

_HEAD = b'{"v":%d,"crc":"%08x","e":'
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class DamagedLineError(JournalError):
    """A line is not, or not all of, what was written."""


class _Line(msgspec.Struct):
    v: int
    crc: str = ""
    e: msgspec.Raw = msgspec.Raw()


_line_decoder = msgspec.json.Decoder(_Line)


def encode_line(event: Event) -> bytes:
    """Return the line of `event`, with its newline."""
    body = _encoder.encode(event)
    return _HEAD % (JOURNAL_VERSION, zlib.crc32(body)) + body + b"}\n"


def decode_line(line: bytes) -> AnyEvent:
    """Return the event of one line.

    Raises
    ------
    DamagedLineError
        If the line is torn or altered.
    JournalError
        If it is whole, but of a version or a kind that this hpcflow does not read.
    """
    try:
        parsed = _line_decoder.decode(line)
    except _UNREADABLE as error:
        raise DamagedLineError(f"it is no journal line ({error})") from None
    if parsed.v != JOURNAL_VERSION:
        raise JournalError(
            f"it has journal version {parsed.v}, and this hpcflow reads version {JOURNAL_VERSION}"
        )
    body = bytes(parsed.e)
    if f"{zlib.crc32(body):08x}" != parsed.crc:
        raise DamagedLineError("its checksum does not match")
    try:
        return _decoder.decode(body)
    except _UNREADABLE as error:
        raise JournalError(f"its event is unknown ({error})") from None
