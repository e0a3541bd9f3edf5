from __future__ import annotations

import contextlib
import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.event import AnyEvent
from hpcflow.errors import JournalError
from hpcflow.journal.format import encode_line
from hpcflow.journal.reader import JournalReader, last_event, read_event, read_journal
from tests.journal.events import a_run, any_event

EVENTS = a_run().events
LINES = [encode_line(event) for event in EVENTS]
ENDS = list(itertools.accumulate(map(len, LINES)))
WHOLE = b"".join(LINES)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "journal.jsonl"


def whole_lines(cut: int) -> int:
    return sum(end <= cut for end in ENDS)


def test_a_journal_is_read_as_it_was_written(path: Path) -> None:
    path.write_bytes(WHOLE)
    assert list(read_journal(path)) == EVENTS


def test_an_empty_journal_has_no_events(path: Path) -> None:
    path.write_bytes(b"")
    assert list(read_journal(path)) == []


def test_a_missing_journal_is_named(path: Path) -> None:
    with pytest.raises(JournalError, match=r"missing\.jsonl': No such file or directory\. Name"):
        list(read_journal(path.with_name("missing.jsonl")))


def test_cut_at_any_byte_a_journal_yields_its_whole_lines(path: Path) -> None:
    for cut in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:cut])
        reader = JournalReader(path)
        assert list(reader.poll()) == EVENTS[: whole_lines(cut)]
        assert reader.offset == max([0, *(end for end in ENDS if end <= cut)])


@settings(deadline=None)
@given(events=st.lists(any_event, max_size=6), data=st.data())
def test_any_journal_cut_anywhere_yields_its_whole_lines(
    path: Path, events: list[AnyEvent], data: st.DataObject
) -> None:
    content = b"".join(map(encode_line, events))
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    assert list(read_journal(path)) == events[: content[:cut].count(b"\n")]


@settings(deadline=None, max_examples=300)
@given(bit=st.integers(0, 8 * (ENDS[-2] - 1) - 1))
def test_a_bit_flipped_before_the_last_line_is_refused_and_its_line_named(
    path: Path, bit: int
) -> None:
    content = bytearray(WHOLE)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    line = whole_lines(bit // 8)
    events = read_journal(path)
    assert list(itertools.islice(events, line)) == EVENTS[:line]
    with pytest.raises(JournalError, match=rf"cannot read journal .*: line {line + 1}[: ]"):
        next(events)


@settings(deadline=None)
@given(bit=st.integers(8 * ENDS[-2], 8 * ENDS[-1] - 1))
def test_a_bit_flipped_in_the_last_line_is_never_read_as_something_else(
    path: Path, bit: int
) -> None:
    content = bytearray(WHOLE)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    events = read_journal(path)
    assert list(itertools.islice(events, len(EVENTS) - 1)) == EVENTS[:-1]
    with contextlib.suppress(JournalError):
        assert next(events, None) is None


def test_a_damaged_line_is_told_only_once_another_follows(path: Path) -> None:
    path.write_bytes(LINES[0] + b"\0\0\0\n")
    reader = JournalReader(path)
    assert list(reader.poll()) == EVENTS[:1]
    assert list(reader.poll()) == []
    path.write_bytes(LINES[0] + b"\0\0\0\n" + LINES[1])
    with pytest.raises(JournalError, match="line 2 is damaged: it is no journal line") as caught:
        list(reader.poll())
    assert "Restore the file from a copy; the lines before are whole." in str(caught.value)


def test_a_last_line_of_another_version_is_refused_and_not_taken_for_torn(path: Path) -> None:
    path.write_bytes(LINES[0] + LINES[1].replace(b'"v":1', b'"v":2'))
    with pytest.raises(JournalError, match=r"line 2: it has journal version 2, .* Use the hpcflow"):
        list(read_journal(path))


# -- a live journal


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=40).map(sorted))
def test_a_journal_that_grows_in_any_pieces_is_followed(path: Path, cuts: list[int]) -> None:
    path.write_bytes(b"")
    reader = JournalReader(path)
    seen: list[AnyEvent] = []
    with path.open("ab", buffering=0) as file:
        for begin, end in itertools.pairwise([0, *cuts, len(WHOLE)]):
            file.write(WHOLE[begin:end])
            seen += reader.poll()
            assert seen == EVENTS[: whole_lines(end)]
    assert seen == EVENTS


def test_a_reader_that_stops_in_the_middle_continues_there(path: Path) -> None:
    path.write_bytes(WHOLE)
    reader = JournalReader(path)
    seen: list[AnyEvent] = []
    while len(seen) < len(EVENTS):
        seen += itertools.islice(reader.poll(), 3)
    assert seen == EVENTS


def test_offsets_lead_back_to_their_events(path: Path) -> None:
    path.write_bytes(WHOLE)
    found = list(JournalReader(path).poll_offsets())
    assert [offset for offset, _ in found] == [0, *ENDS[:-1]]
    random.Random(7).shuffle(found)
    for offset, event in found:
        assert read_event(path, offset) == event


@pytest.mark.parametrize("count", [1, 2, len(EVENTS)])
def test_the_last_event_is_found_from_the_end(count: int, path: Path) -> None:
    path.write_bytes(b"".join(LINES[:count]))
    assert last_event(path) == EVENTS[count - 1]


def test_a_torn_damaged_or_missing_journal_has_no_last_event(path: Path) -> None:
    path.write_bytes(WHOLE[:-1])
    assert last_event(path) is None
    path.write_bytes(WHOLE[:-20] + b"x" * 19 + b"\n")
    assert last_event(path) is None
    assert last_event(path.with_name("none")) is None
