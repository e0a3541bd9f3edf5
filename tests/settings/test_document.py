"""A wrong settings file is one error that names the key, the file and the line."""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from hpcflow.errors import RequestError
from hpcflow.settings import convert, dump_toml, load_toml


class _Disc(msgspec.Struct, forbid_unknown_fields=True, tag_field="shape", tag="disc"):
    radius_nm: Annotated[float, msgspec.Meta(gt=0)]


class _Box(msgspec.Struct, forbid_unknown_fields=True, tag_field="shape", tag="box"):
    width_nm: float
    height_nm: float


class _Farm(msgspec.Struct, forbid_unknown_fields=True):
    slots: Annotated[int, msgspec.Meta(ge=1)] | None = None
    limits: dict[str, int] = {}


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    mode: Literal["fast", "careful"] = "fast"
    farm: _Farm = msgspec.field(default_factory=_Farm)
    body: _Disc | _Box | None = None
    bodies: list[_Disc | _Box] = []


def _error(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as raised:
        load_toml(path, _Settings)
    message = str(raised.value)
    assert message.startswith(f"cannot read {path}")
    return message.removeprefix(f"cannot read {path}, ")


def test_a_valid_file_becomes_the_typed_value(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[farm]\nslots = 3\n[[bodies]]\nshape = "disc"\nradius_nm = 2\n')
    assert load_toml(path, _Settings) == _Settings(
        farm=_Farm(slots=3), bodies=[_Disc(radius_nm=2.0)]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mod = 1", "line 1: the file has no key 'mod'; did you mean 'mode'? Correct"),
        ("\n# note\n[farm]\nslot = 1", "line 4: farm has no key 'slot'; did you mean 'slots'?"),
        ("[farm]\nslots = 'four'", "line 2: farm.slots must be an integer; it is 'four'."),
        ("[farm]\nslots = 0", "line 2: farm.slots must be an integer >= 1; it is 0."),
        ("farm = 3", "line 1: farm must be a table; it is 3."),
        ("[farm.limits]\na = 1\nb = 'x'", "line 3: farm.limits.b must be an integer; it is 'x'."),
        ("mode = 'fats'", "line 1: mode cannot be 'fats'; did you mean 'fast'?"),
        ("[body]\nshape = 'disk'", "line 2: body.shape cannot be 'disk'; did you mean 'disc'?"),
        ("[body]\nradius_nm = 1", "line 1: body has no key 'shape', which is required. Add it."),
        (
            "[body]\nshape = 'box'\nradius_nm = 1",
            "line 3: body has no key 'radius_nm'; known: height_nm, shape, width_nm.",
        ),
        (
            "[[bodies]]\nshape = 'disc'\nradius_nm = 1\n[[bodies]]\nshape = 'disc'\nradius = 1",
            "line 6: bodies (item 2) has no key 'radius'; did you mean 'radius_nm'?",
        ),
        (
            "bodies = [\n  { shape = 'disc', radius_nm = -1 },\n]",
            "line 2: bodies (item 1).radius_nm must be a number > 0.0; it is -1.",
        ),
        ("mode = 'fast'\nfarm = ", "line 2: it is not TOML (invalid value). Correct the line."),
        ("a = 1\na = 2", "line 2: it is not TOML (cannot overwrite a value)."),
        ('a = """\n\n', "line 2: it is not TOML (unterminated string)."),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in _error(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read .*none\.toml: no such file"):
        load_toml(tmp_path / "none.toml", _Settings)


def test_a_directory_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=re.escape(f"cannot read {tmp_path}: is a directory")):
        load_toml(tmp_path, _Settings)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"mode = '\xff'")
    with pytest.raises(RequestError, match="byte 8 is not UTF-8"):
        load_toml(path, _Settings)


def test_a_mapping_without_a_file_is_checked_as_strictly() -> None:
    with pytest.raises(RequestError, match=r"cannot read run.toml \[ensemble\]: farm has no key"):
        convert({"farm": {"slot": 1}}, _Settings, name="run.toml [ensemble]")


def test_what_is_dumped_is_read_back_without_its_nones(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(dump_toml({"mode": "careful", "farm": {"slots": None, "limits": {"a b": 2}}}))
    assert load_toml(path, _Settings) == _Settings(mode="careful", farm=_Farm(limits={"a b": 2}))
