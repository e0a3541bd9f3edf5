"""Read the inputs of an ensemble of commands: each becomes a mapping of field names to text."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from hpcflow.ensembles.command.configuration import InputOptions
from hpcflow.errors import RequestError

Fields = dict[str, str]


def resolved(options: InputOptions, base: Path) -> InputOptions:
    """Return `options` with absolute paths, relative to `base`."""
    escaped = Path(glob.escape(str(base.absolute())))
    patterns = [options.files] if isinstance(options.files, str) else options.files
    return msgspec.structs.replace(
        options,
        csv=_absolute(options.csv, base),
        tsv=_absolute(options.tsv, base),
        json_lines=_absolute(options.json_lines, base),
        files=patterns and [str(escaped / pattern) for pattern in patterns],
    )


def _absolute(path: str | None, base: Path) -> str | None:
    return None if path is None else str((base / path).absolute())


def read_inputs(options: InputOptions) -> list[Fields]:
    """Return the fields of each input, in order.

    Parameters
    ----------
    options
        One source, its paths absolute.

    Raises
    ------
    RequestError
        If there is not exactly one source, it cannot be read, is malformed, or has no input.
    """
    given = {
        name: value
        for name in InputOptions.__struct_fields__
        if (value := getattr(options, name)) is not None
    }
    if len(given) != 1:
        raise RequestError(
            f"cannot tell the inputs: table 'inputs' names {' and '.join(given) or 'none'} of"
            f" {', '.join(InputOptions.__struct_fields__)}. Give one of them."
        )
    [(source, value)] = given.items()
    inputs = list(_READERS[source](value))
    if not inputs:
        raise RequestError(
            f"cannot run a command: inputs.{source} = {value!r} has no inputs. Give at least one."
        )
    return inputs


def _rows(rows: list[dict[str, Any]]) -> Iterator[Fields]:
    for number, row in enumerate(rows, start=1):
        yield _as_text(row, f"inputs.rows (item {number})")


def _csv(path: str) -> Iterator[Fields]:
    return _table(path, delimiter=",")


def _tsv(path: str) -> Iterator[Fields]:
    return _table(path, delimiter="\t")


def _table(path: str, *, delimiter: str) -> Iterator[Fields]:
    rows = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for row in filter(None, rows):
            if not names:
                names = row
                _check_names(path, names)
            elif len(row) != len(names):
                _refuse(
                    f"{path}, line {rows.line_num}",
                    f"it has {len(row)} values, and line 1 names {len(names)} fields",
                )
            else:
                where = f"{path}, line {rows.line_num}"
                yield _as_text(dict(zip(names, row, strict=True)), where)
    except csv.Error as error:
        _refuse(f"{path}, line {rows.line_num}", str(error))


def _check_names(path: str, names: list[str]) -> None:
    for name in names:
        if not name.strip() or names.count(name) > 1:
            rule = f"field {name!r} is named twice" if name.strip() else "a field has no name"
            _refuse(f"{path}, line 1", rule)


def _json_lines(path: str) -> Iterator[Fields]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            _refuse(where, f"it is not JSON ({error})")
        if not isinstance(row, Mapping):
            _refuse(where, "it is not a JSON object")
        yield _as_text(row, where)


def _files(patterns: list[str]) -> Iterator[Fields]:
    paths: dict[str, None] = {}
    for pattern in patterns:
        matches = glob.glob(pattern, recursive=True)  # noqa: PTH207  as a shell: no hidden files
        found = sorted(path for path in matches if Path(path).is_file())
        if not found:
            raise RequestError(
                f"cannot find inputs: no file matches inputs.files = {pattern!r}. Correct the"
                " pattern; it is relative to the configuration file."
            )
        paths.update(dict.fromkeys(found))
    for path in map(Path, paths):
        yield _as_text({"path": str(path), "name": path.name, "stem": path.stem}, str(path))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(path, f"byte {error.start} is not UTF-8")
    except OSError as error:
        raise RequestError(
            f"cannot read inputs {path!r}: {(error.strerror or str(error)).lower()}. Correct the"
            " path; it is relative to the configuration file."
        ) from None


def _as_text(row: Mapping[str, Any], where: str) -> Fields:
    """Return a row's values as a command line has them: true and false, numbers as written."""
    fields = {}
    for name, value in row.items():
        match value:
            case bool():
                fields[name] = str(value).lower()
            case str() | int() | float():
                fields[name] = str(value)
            case _:
                _refuse(where, f"field {name!r} is {value!r}, and no text, number or boolean")
        if "\0" in fields[name]:
            _refuse(where, f"field {name!r} holds a NUL character")
    return fields


def _refuse(where: str, rule: str) -> NoReturn:
    raise RequestError(f"cannot read inputs {where}: {rule}. Correct the input.")


_READERS: dict[str, Callable[[Any], Iterator[Fields]]] = {
    "rows": _rows,
    "csv": _csv,
    "tsv": _tsv,
    "json_lines": _json_lines,
    "files": _files,
}
