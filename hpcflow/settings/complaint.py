"""Say in the words of a TOML file what is wrong with one of its values.

msgspec stops at the first fault and names it by a path such as `$.farm.slots`; here that becomes
the key as people write it, the rule in TOML's own type names, and the nearest known spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from hpcflow.errors import nearest
from hpcflow.settings.location import KeyPath

_STEP = re.compile(r"\.(?P<key>[^.\[`]+)|\[(?P<index>\d+|\.\.\.)\]")
_WORDS = {
    "array": "a list",
    "bool": "a boolean",
    "float": "a number",
    "int": "an integer",
    "object": "a table",
    "str": "a string",
}
_LONGEST_VALUE = 60


class Complaint(NamedTuple):
    """What is wrong, and the path of the key to blame."""

    path: KeyPath
    rule: str
    remedy: str


def complain(error: msgspec.ValidationError, values: Any, type_: type) -> Complaint:
    """Return the fault that msgspec found in `values` when it built `type_` from them."""
    text, _, place = str(error).partition(" - at ")
    path = _path_of(place, error, values, type_=type_)
    info = _descend(inspect.type_info(type_), path, values)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        return _unknown_key(path, unknown[1], _fields(info, _value_at(values, path)))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        rule = f"{_name(path)} has no key {missing[1]!r}, which is required"
        return Complaint(path, rule, "Add it")
    value = _value_at(values, path)
    if re.match(r"Invalid (enum )?value", text):
        choices = nearest(str(value), _choices(info) + _tags(type_, path, values))
        return Complaint(path, f"{_name(path)} cannot be {value!r}; {choices}", "Choose one")
    if expected := re.match(r"Expected (.*?)(, got `.*`)?$", text, re.DOTALL):
        rule = f"{_name(path)} must be {_words(expected[1])}; it is {_shown(value)}"
        return Complaint(path, rule, "Correct the value")
    return Complaint(path, text.removesuffix("."), "Correct it")


def _unknown_key(table: KeyPath, key: str, known: Sequence[str]) -> Complaint:
    rule = f"{_name(table)} has no key {key!r}; {nearest(key, known)}"
    return Complaint((*table, key), rule, "Correct the key or remove it")


def _path_of(text: str, error: msgspec.ValidationError, values: Any, *, type_: type) -> KeyPath:
    """Return the steps of msgspec's path, with the keys of free tables, which it omits."""
    path: KeyPath = ()
    for step in _STEP.finditer(text):
        if step["index"] == "...":
            path = (*path, _culprit(path, error, values, type_=type_))
        else:
            path = (*path, step["key"] or int(step["index"]))
    return path


def _culprit(table: KeyPath, error: msgspec.ValidationError, values: Any, *, type_: type) -> str:
    """Return the key of `table` that is to blame: the one that alone brings the same error."""
    entries = _value_at(values, table)
    for key in entries:
        try:
            msgspec.convert(_narrowed(values, table, key), type_)
        except msgspec.ValidationError as same:
            if str(same) == str(error):
                return str(key)
    return str(next(iter(entries)))


def _narrowed(values: Any, table: KeyPath, key: str) -> Any:
    """Return `values` with all entries but `key` left out of `table`."""
    if not table:
        return {key: values[key]}
    copy: Any = list(values) if isinstance(values, list) else dict(values)
    copy[table[0]] = _narrowed(values[table[0]], table[1:], key)
    return copy


def _name(path: KeyPath) -> str:
    """Return a path as it is written in a file, positions counted from 1.

    >>> _name(()), _name(("farm", "slots")), _name(("inputs", "rows", 0))
    ('the file', 'farm.slots', 'inputs.rows (item 1)')
    """
    text = ""
    for step in path:
        text += f" (item {step + 1})" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".") or "the file"


def _value_at(values: Any, path: KeyPath) -> Any:
    for step in path:
        values = values[step]
    return values


def _words(expected: str) -> str:
    """Return msgspec's `int | null` as `an integer`."""

    def translate(match: re.Match[str]) -> str:
        names = [name for name in match[1].split(" | ") if name != "null"]
        return " or ".join(_WORDS.get(name, name) for name in names)

    return re.sub(r"`([^`]*)`", translate, expected)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _bare(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _members(info: inspect.Type) -> list[inspect.Type]:
    info = _bare(info)
    if isinstance(info, inspect.UnionType):
        return [_bare(member) for member in info.types]
    return [info]


def _descend(info: inspect.Type, path: KeyPath, values: Any) -> inspect.Type:
    """Return the type of what stands at `path`, or AnyType where there is no telling."""
    for step in path:
        found: inspect.Type = inspect.AnyType()
        for member in _members(info):
            if isinstance(step, int):
                if isinstance(member, inspect.ListType | inspect.VarTupleType):
                    found = member.item_type
            elif isinstance(member, inspect.DictType):
                found = member.value_type
            elif isinstance(member, inspect.StructType) and _is_meant(member, values):
                for field in member.fields:
                    if field.encode_name == step:
                        found = field.type
        info, values = found, values[step]
    return info


def _is_meant(struct: inspect.StructType, values: Any) -> bool:
    return struct.tag_field is None or values.get(struct.tag_field, struct.tag) == struct.tag


def _fields(info: inspect.Type, values: Any) -> list[str]:
    names = []
    for member in _members(info):
        if isinstance(member, inspect.StructType) and _is_meant(member, values):
            names += [field.encode_name for field in member.fields]
            names += [member.tag_field] if member.tag_field else []
    return names


def _choices(info: inspect.Type) -> list[str]:
    """Return the members of a closed set of values."""
    choices: list[str] = []
    for member in _members(info):
        match member:
            case inspect.LiteralType():
                choices += [str(choice) for choice in member.values]
            case inspect.EnumType():
                choices += [str(choice.value) for choice in member.cls]
    return choices


def _tags(type_: type, path: KeyPath, values: Any) -> list[str]:
    """Return the tags of the Structs among which the key at `path` chooses."""
    table = _descend(inspect.type_info(type_), path[:-1], values)
    return [
        str(member.tag)
        for member in _members(table)
        if isinstance(member, inspect.StructType) and member.tag_field == path[-1]
    ]
