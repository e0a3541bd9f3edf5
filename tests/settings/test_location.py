"""Where keys stand in a TOML text, checked against a text whose values name their own lines."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hpcflow.settings.location import KeyPath, locate

_EVERY_FORM = '''\
one = 1
"two words".x = 2  # a comment with = [ and "
three = """
not = 9
[neither]
"""
'seven' = { a = 7, b.c = 7, "d" = [7, 7] }
eight = [
  9,  # [
  [10, 10],
  { k = 11 },
  { k = 12, l = [12] },
]

[table.inner]
sixteen = 1.5e3
seventeen = 1979-05-27 07:32:00
eighteen = QUOTESit's, [it]QUOTES

[[rows]]
a = 21
[[rows]]
a = 23
[rows.below]
b = 25
[[rows.deep]]
c = 27
[[rows.deep]]
c = """x"" ""\\""""""
after = 30
'''.replace("QUOTES", "'" * 3)


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, key))
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _paths(item, (*path, position))


def test_every_key_table_and_element_that_the_parser_sees_is_located() -> None:
    assert set(_paths(tomllib.loads(_EVERY_FORM))) == set(locate(_EVERY_FORM))


def test_a_key_stands_on_the_line_where_it_is_written() -> None:
    lines = locate(_EVERY_FORM)
    assert lines["one",] == 1
    assert lines["two words", "x"] == 2
    assert lines["seven", "b", "c"] == 7
    assert lines["eight", 1, 0] == 10
    assert lines["eight", 3, "l", 0] == 12
    assert lines["table", "inner", "eighteen"] == 18
    assert lines["rows", 0, "a"] == 21
    assert lines["rows", 1, "below", "b"] == 25
    assert lines["rows", 1, "deep", 1, "after"] == 30


def test_windows_line_ends_do_not_shift_lines() -> None:
    assert locate("a = 1\r\n[t]\r\nb = 2\r\n")["t", "b"] == 3
