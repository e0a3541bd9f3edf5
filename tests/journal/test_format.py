from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.event import AnyEvent, SlotLost, TasksSucceeded
from hpcflow.errors import JournalError
from hpcflow.journal.format import (
    JOURNAL_VERSION,
    DamagedLineError,
    decode_line,
    encode_line,
)
from tests.journal.events import KINDS, any_event, events_of

EVENT = SlotLost(at=1.5, slot="w0.0", reason="killed")
LINE = (
    b'{"v":1,"crc":"bb5f0ef2","e":{"event":"slot-lost","at":1.5,"slot":"w0.0","reason":"killed"}}\n'
)


def line_of(body: bytes, *, version: int = JOURNAL_VERSION) -> bytes:
    return b'{"v":%d,"crc":"%08x","e":%s}\n' % (version, zlib.crc32(body), body)


def test_a_line_looks_as_documented() -> None:
    assert encode_line(EVENT) == LINE


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_every_event_comes_back_as_it_was(kind: type[AnyEvent], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))
    line = encode_line(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    back = decode_line(line)
    assert type(back) is type(event)
    assert back == event


@settings(deadline=None)
@given(any_event)
def test_a_line_is_json_for_everybody(event: AnyEvent) -> None:
    line = encode_line(event)
    parsed = json.loads(line)
    body = line[line.index(b'"e":') + 4 : -2]
    assert parsed["v"] == JOURNAL_VERSION
    assert parsed["crc"] == f"{zlib.crc32(body):08x}"
    assert parsed["e"]["event"] == event.__struct_config__.tag


@settings(deadline=None)
@given(any_event)
def test_plain_values_keep_their_types(event: AnyEvent) -> None:
    back = decode_line(encode_line(event))
    if isinstance(event, TasksSucceeded) and isinstance(back, TasksSucceeded):
        assert repr(back.values) == repr(event.values)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused_and_is_no_damage(version: int) -> None:
    with pytest.raises(JournalError, match=f"version {version}, and this hpcflow reads version 1"):
        decode_line(line_of(b'{"event":"from the future"}', version=version))
    with pytest.raises(JournalError, match=f"version {version}") as caught:
        decode_line(b'{"v":%d,"shape":"another"}\n' % version)
    assert not isinstance(caught.value, DamagedLineError)


def test_an_unknown_event_is_refused_and_is_no_damage() -> None:
    with pytest.raises(JournalError, match="its event is unknown") as caught:
        decode_line(line_of(b'{"event":"slot-painted","at":1.5}'))
    assert not isinstance(caught.value, DamagedLineError)


def test_a_field_that_a_later_hpcflow_added_is_ignored() -> None:
    body = b'{"event":"slot-lost","at":1.5,"slot":"w0.0","reason":"killed","colour":"red"}'
    assert decode_line(line_of(body)) == EVENT


def test_a_wrong_checksum_is_damage() -> None:
    with pytest.raises(DamagedLineError, match="its checksum does not match"):
        decode_line(LINE.replace(b"bb5f0ef2", b"bb5f0ef3"))
    with pytest.raises(DamagedLineError, match="its checksum does not match"):
        decode_line(LINE.replace(b"killed", b"kulled"))


@settings(deadline=None)
@given(any_event, st.data())
def test_any_flipped_bit_is_noticed(event: AnyEvent, data: st.DataObject) -> None:
    line = bytearray(encode_line(event))
    bit = data.draw(st.integers(0, 8 * (len(line) - 1) - 1))
    line[bit // 8] ^= 1 << bit % 8
    with pytest.raises(JournalError):
        decode_line(bytes(line))


@settings(deadline=None)
@given(any_event, st.data())
def test_any_missing_part_is_noticed(event: AnyEvent, data: st.DataObject) -> None:
    line = encode_line(event)
    end = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(DamagedLineError):
        decode_line(line[:end])
