"""Read a TOML file into a typed value, strictly; write a mapping as TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from hpcflow.errors import RequestError
from hpcflow.settings.complaint import complain
from hpcflow.settings.location import KeyPath, locate

_Settings = TypeVar("_Settings")
_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed TOML text that can still say where each of its keys stands."""

    name: str
    """What to call it in an error: its path as the user gave it."""
    values: dict[str, Any]
    text: str = field(repr=False, default="")

    def error(self, path: KeyPath, rule: str, remedy: str) -> RequestError:
        """Return the error for the key at `path`: `cannot read <file>, line <n>: ...`."""
        lines = locate(self.text)
        while path and path not in lines:
            path = path[:-1]
        place = f", line {lines[path]}" if path in lines else ""
        stop = "" if rule.endswith("?") else "."
        return RequestError(f"cannot read {self.name}{place}: {rule}{stop} {remedy}.")

    def as_type(self, type_: type[_Settings]) -> _Settings:
        """Return the document as a value of `type_`, by msgspec's strict rules.

        Raises
        ------
        RequestError
            If a key is unknown, missing, or has a wrong type or value; names key, file and line.
        """
        try:
            return msgspec.convert(self.values, type_)
        except msgspec.ValidationError as error:
            complaint = complain(error, self.values, type_)
            raise self.error(complaint.path, complaint.rule, complaint.remedy) from None


def read_document(path: str | Path) -> Document:
    """Parse the TOML file at `path`.

    Raises
    ------
    RequestError
        If it cannot be read or is not TOML.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"cannot read {name}: byte {error.start} is not UTF-8. Save the file as UTF-8."
        ) from None
    except OSError as error:
        raise RequestError(
            f"cannot read {name}: {(error.strerror or str(error)).lower()}. Name a TOML file you"
            " can read."
        ) from None
    try:
        return Document(name=name, values=tomllib.loads(text), text=text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(name, text, str(error)) from None


def _syntax_error(name: str, text: str, message: str) -> RequestError:
    position = _POSITION.search(message)
    line = len(text.splitlines()) or 1
    if position is not None:
        line = int(position["line"] or line)
        message = message[: position.start()]
    return RequestError(
        f"cannot read {name}, line {line}: it is not TOML ({message[:1].lower()}{message[1:]})."
        " Correct the line."
    )


def load_toml(path: str | Path, type_: type[_Settings]) -> _Settings:
    """Return the TOML file at `path` as a value of `type_`, strictly.

    Parameters
    ----------
    path
        The file; also what it is called in an error.
    type_
        A msgspec Struct with `forbid_unknown_fields`, as are the Structs within it.

    Raises
    ------
    RequestError
        If the file cannot be read, is not TOML, or a key is unknown (the nearest known key is
        named), missing, or has a wrong type or value.
    """
    return read_document(path).as_type(type_)


def convert(values: Mapping[str, Any], type_: type[_Settings], *, name: str) -> _Settings:
    """Return a mapping that came from no file of its own as a value of `type_`, as strictly.

    Parameters
    ----------
    values
        What a TOML document would hold.
    type_
        A msgspec Struct with `forbid_unknown_fields`.
    name
        What to call the mapping in an error, such as `runs/x/run.toml [ensemble]`.

    Raises
    ------
    RequestError
        If a key is unknown, missing, or has a wrong type or value.
    """
    return Document(name=name, values=dict(values)).as_type(type_)


def dump_toml(mapping: Mapping[str, Any]) -> str:
    """Return `mapping` as TOML text. Entries that are None are left out: TOML has no null.

    Examples
    --------
    >>> print(dump_toml({"slots": 4, "seed": None, "farm": {"retries": 1}}), end="")
    slots = 4
    <BLANKLINE>
    [farm]
    retries = 1
    """
    return tomli_w.dumps(_without_none(mapping))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
