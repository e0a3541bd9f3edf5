"""Inputs as people have them."""

from pathlib import Path
from typing import Any

import pytest

from hpcflow.ensembles.command.configuration import InputOptions
from hpcflow.ensembles.command.inputs import Fields, read_inputs, resolved
from hpcflow.errors import RequestError


def _read(base: Path, **options: Any) -> list[Fields]:
    return read_inputs(resolved(InputOptions(**options), base))


def _refusal(base: Path, **options: Any) -> str:
    with pytest.raises(RequestError) as raised:
        _read(base, **options)
    return str(raised.value)


def test_rows_become_text_as_a_command_line_has_it(tmp_path: Path) -> None:
    assert _read(tmp_path, rows=[{"n": 12, "x": 0.5, "deep": True, "name": "a b"}]) == [
        {"n": "12", "x": "0.5", "deep": "true", "name": "a b"}
    ]


def test_a_csv_file_has_quotes_newlines_in_values_blank_lines_and_a_byte_order_mark(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfname,text\r\n\r\nx,"a, ""b""\nc"\r\ny,\r\n')
    assert _read(tmp_path, csv="a.csv") == [
        {"name": "x", "text": 'a, "b"\nc'},
        {"name": "y", "text": ""},
    ]


def test_a_tsv_file_is_split_at_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\tsequence\n1\tMKV, L\n")
    assert _read(tmp_path, tsv="a.tsv") == [{"id": "1", "sequence": "MKV, L"}]


def test_json_lines_are_objects(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1, "s": "\\u2028"}\n\n{"n": 2, "s": ""}\n')
    assert _read(tmp_path, json_lines="a.jsonl") == [{"n": "1", "s": "\u2028"}, {"n": "2", "s": ""}]


def test_files_come_sorted_with_path_name_and_stem(tmp_path: Path) -> None:
    base = tmp_path / "with [brackets]"
    base.mkdir()
    for name in ("b.fasta", "a.fasta", "c.txt", ".hidden.fasta"):
        (base / name).touch()
    assert _read(base, files="*.fasta") == [
        {"path": str(base / "a.fasta"), "name": "a.fasta", "stem": "a"},
        {"path": str(base / "b.fasta"), "name": "b.fasta", "stem": "b"},
    ]


def test_a_file_that_matches_two_patterns_is_one_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert len(_read(tmp_path, files=["*.txt", "a.*"])) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "line 2: it has 1 values, and line 1 names 2 fields"),
        ("a,a\n1,2\n", "line 1: field 'a' is named twice"),
        ("a,\n1,2\n", "line 1: a field has no name"),
        ('a\n"x\n', "line 2: unexpected end of data"),
        ("a,b\n", "has no inputs"),
        ("", "has no inputs"),
    ],
)
def test_a_malformed_table_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    refusal = _refusal(tmp_path, csv="a.csv")
    assert message in refusal
    assert str(tmp_path / "a.csv") in refusal


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: it is not JSON"),
        ("[1]", "line 1: it is not a JSON object"),
        ('{"a": null}', "line 1: field 'a' is None, and no text, number or boolean"),
        ('{"a": "\\u0000"}', "line 1: field 'a' holds a NUL character"),
    ],
)
def test_a_malformed_json_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    assert message in _refusal(tmp_path, json_lines="a.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no.csv': no such file" in _refusal(tmp_path, csv="no.csv")


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    assert "no file matches inputs.files" in _refusal(tmp_path, files="*.pdb")


def test_exactly_one_source_is_given(tmp_path: Path) -> None:
    assert "names csv and files" in _refusal(tmp_path, csv="a", files="b")
    assert "names none" in _refusal(tmp_path)
