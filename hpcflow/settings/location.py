"""Find the line on which each key of a TOML document stands.

The standard parser keeps no positions. This one keeps nothing else: it runs only after the
standard parser has accepted the text, so it may trust that every bracket and quote is closed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""Where a value stands: table keys as strings, positions in arrays as integers."""

_TOKEN = re.compile(
    r"""
      (?P<space>  [ \t\r]+ | \#[^\n]* )
    | (?P<newline>\n )
    | (?P<string> \"{3} (?: \\. | [^\\] )*? \"{3,5} | '{3} .*? '{3,5}
                | " (?: \\. | [^"\\] )* " | ' [^']* ' )
    | (?P<mark>   [][{}=,.] )
    | (?P<bare>   [^][{}=,.\s\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def locate(text: str) -> dict[KeyPath, int]:
    r"""Return the line, from 1, of each key, table and array element of a valid TOML text.

    Examples
    --------
    >>> lines = locate("a = 1\n[farm]\nslots = 4\n[[rows]]\nn = [5,\n 6]\n")
    >>> lines["a",], lines["farm", "slots"], lines["rows", 0, "n", 1]
    (1, 3, 6)
    """
    return _Locator(text).lines


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            yield _Token(match.lastgroup or "", match.group(), line)
        line += match.group().count("\n")


class _Locator:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._array_lengths: dict[KeyPath, int] = {}
        self._rest = [*_tokens(text), _Token("end", "", text.count("\n") + 1)]
        self._rest.reverse()
        table: KeyPath = ()
        while self._skip_newlines().kind != "end":
            if self._peek().text == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _peek(self) -> _Token:
        return self._rest[-1]

    def _next(self) -> _Token:
        return self._rest.pop()

    def _skip_newlines(self) -> _Token:
        while self._peek().kind == "newline":
            self._next()
        return self._peek()

    def _header(self) -> KeyPath:
        line = self._peek().line
        brackets = 0
        while self._peek().text == "[":
            self._next()
            brackets += 1
        *parents, last = self._keys()
        for _ in range(brackets):
            self._next()
        path: KeyPath = ()
        for key in parents:
            path = self._within_last((*path, key))
            self.lines.setdefault(path, line)
        path = (*path, last)
        if brackets > 1:
            self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            self.lines.setdefault(path, line)
            path = self._within_last(path)
        self.lines[path] = line
        return path

    def _within_last(self, path: KeyPath) -> KeyPath:
        """Return `path`, or that of its newest element where it is an array of tables."""
        length = self._array_lengths.get(path, 0)
        return (*path, length - 1) if length else path

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._peek().text == ".":
            self._next()
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        token = self._next()
        if token.kind == "string":
            return str(tomllib.loads(f"key = {token.text}")["key"])
        return token.text

    def _assignment(self, table: KeyPath) -> None:
        line = self._peek().line
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._next()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        match self._peek().text:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                while self._peek().kind in ("string", "bare") or self._peek().text == ".":
                    self._next()

    def _array(self, path: KeyPath) -> None:
        self._next()
        position = 0
        while self._skip_newlines().text != "]":
            self.lines[*path, position] = self._peek().line
            self._value((*path, position))
            position += 1
            self._skip_comma()
        self._next()

    def _inline_table(self, path: KeyPath) -> None:
        self._next()
        while self._skip_newlines().text != "}":
            self._assignment(path)
            self._skip_comma()
        self._next()

    def _skip_comma(self) -> None:
        if self._skip_newlines().text == ",":
            self._next()
