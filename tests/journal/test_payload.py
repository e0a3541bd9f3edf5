from __future__ import annotations

import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcflow.core.event import PayloadRef
from hpcflow.core.task import Stored
from hpcflow.errors import JournalError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.payload import Payload, check_payload, write_payload

VALUE = {"positions": [0.5] * 1000}
DATA = pickle.dumps(VALUE)

# Tries to store a value that does not fit, and says what is left of it.
OVERFLOWER = """
import resource, sys
from pathlib import Path
from hpcflow.journal.payload import write_payload

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_payload(bytes(5000), run=Path(sys.argv[1]), stage="s", name="k.1")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    RunDirectory(tmp_path / "run").create()
    return tmp_path / "run"


@pytest.fixture
def ref(run: Path) -> PayloadRef:
    return write_payload(DATA, run=run, stage="simulate", name="r000.1")


def files(run: Path) -> list[Path]:
    return sorted(path for path in (run / "payloads").rglob("*") if path.is_file())


def test_a_value_comes_back_from_its_file(run: Path, ref: PayloadRef) -> None:
    payload = Payload(run, ref)
    assert isinstance(payload, Stored)
    assert payload.load() == VALUE
    assert check_payload(run, ref) is None


def test_the_reference_says_where_how_long_and_what(run: Path, ref: PayloadRef) -> None:
    assert [path.relative_to(run) for path in files(run)] == [Path(ref.file)]
    assert Path(ref.file).parts[:2] == ("payloads", "simulate")
    assert Path(ref.file).name.startswith("r000.1.")
    assert ref.size == len(DATA)
    assert ref.digest == hashlib.blake2b(DATA, digest_size=16).hexdigest()


def test_no_temporary_file_is_left_and_the_payload_is_private(run: Path) -> None:
    before = os.umask(0)
    try:
        ref = write_payload(DATA, run=run, stage="s", name="k.1")
    finally:
        os.umask(before)
    assert files(run) == [run / ref.file]
    assert stat.S_IMODE((run / ref.file).stat().st_mode) == 0o600
    assert stat.S_IMODE((run / ref.file).parent.stat().st_mode) == 0o700


def test_the_longest_key_fits_into_a_file_name(run: Path) -> None:
    ref = write_payload(DATA, run=run, stage="s", name="x" * 200 + ".1000000")
    assert Payload(run, ref).load() == VALUE


def test_an_attempt_that_was_given_up_does_not_replace_the_recorded_value(
    run: Path, ref: PayloadRef
) -> None:
    late = write_payload(pickle.dumps("another"), run=run, stage="simulate", name="r000.1")
    assert Payload(run, ref).load() == VALUE
    assert Payload(run, late).load() == "another"


def test_the_same_value_written_twice_is_one_file(run: Path, ref: PayloadRef) -> None:
    assert write_payload(DATA, run=run, stage="simulate", name="r000.1") == ref
    assert len(files(run)) == 1


def test_a_run_may_be_moved(run: Path, ref: PayloadRef) -> None:
    moved = run.rename(run.with_name("elsewhere"))
    assert Payload(moved, ref).load() == VALUE


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_bytes(DATA[:-1]), "its digest is not the one in the journal"),
        (lambda path: path.write_bytes(DATA + b"!"), "its digest is not the one in the journal"),
        (lambda path: path.write_bytes(b""), "its digest is not the one in the journal"),
        (lambda path: path.write_bytes(b"!" + DATA[1:]), "its digest is not the one in the"),
    ],
    ids=["missing", "truncated", "longer", "empty", "altered"],
)
def test_a_payload_that_is_not_what_was_recorded_is_never_opened(
    run: Path, ref: PayloadRef, harm: Callable[[Path], object], says: str
) -> None:
    harm(run / ref.file)
    with pytest.raises(JournalError, match=f"cannot read payload .*r000.*: {says}"):
        Payload(run, ref).load()
    assert says in (check_payload(run, ref) or "")


def test_a_payload_is_read_only_when_its_value_is_asked_for(run: Path, ref: PayloadRef) -> None:
    payload = Payload(run, ref)
    (run / ref.file).unlink()
    assert repr(payload) == f"Payload({ref.file!r}, {len(DATA)} bytes)"
    with pytest.raises(JournalError):
        payload.load()


def test_what_does_not_fit_on_the_disk_leaves_nothing_behind(run: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", OVERFLOWER, str(run)], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "File too large"
    assert files(run) == []
