"""Scratch directories are their user's alone, and are made nowhere else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow.errors import RequestError
from hpcflow.private import make_scratch

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_scratch_directory_is_private_and_no_two_are_the_same(tmp_path: Path) -> None:
    first, second = make_scratch(tmp_path), make_scratch(tmp_path)
    assert first != second
    assert {first.parent, second.parent} == {tmp_path}
    assert mode(first) == mode(second) == 0o700


def test_a_place_that_is_not_there_yet_is_made_and_is_private_all_the_way(tmp_path: Path) -> None:
    place = tmp_path / "local" / "me"
    scratch = make_scratch(place)
    assert scratch.parent == place
    assert [mode(path) for path in (place.parent, place, scratch)] == [0o700] * 3


def test_without_a_place_it_is_in_the_systems_temporary_one() -> None:
    scratch = make_scratch(None)
    try:
        assert mode(scratch) == 0o700
        assert stat.S_ISDIR(scratch.lstat().st_mode)
    finally:
        scratch.rmdir()


@needs_root
def test_the_directory_of_another_user_is_refused_although_we_could_write_there(
    tmp_path: Path,
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o777)
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(RequestError, match=rf"belongs to user {NOBODY}, and you are 0. Set HPC"):
        make_scratch(theirs)
    assert list(theirs.iterdir()) == []


def test_a_symbolic_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for target in ("mine", "nowhere"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(RequestError, match="as scratch directory: it is a symbolic link"):
            make_scratch(link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "to-mine", "to-nowhere"]


def test_a_directory_that_everybody_may_write_to_must_keep_files_apart(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(RequestError, match=r"everybody may write to it \(mode 0777\)"):
        make_scratch(place)
    place.chmod(0o1777)
    assert make_scratch(place).parent == place


def test_a_file_is_no_place_for_scratch(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="it is not a directory"):
        make_scratch(tmp_path / "file")
    with pytest.raises(RequestError, match="Not a directory"):
        make_scratch(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_we_may_not_write_to_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir(mode=0o500)
    with pytest.raises(RequestError, match="Permission denied"):
        make_scratch(place)


@needs_root
def test_a_worker_uses_no_scratch_directory_that_another_user_has_made_before(
    tmp_path: Path,
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o777)
    os.chown(theirs, NOBODY, NOBODY)
    worker = [sys.executable, "-m", "hpcflow", "worker", "--run", str(tmp_path / "run")]
    done = subprocess.run(
        [*worker, "--interface", "lo"],
        env={**os.environ, "HPCFLOW_SCRATCH": str(theirs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    error = done.stderr.strip().splitlines()[-1]
    assert f"cannot use {str(theirs)!r} as scratch directory: it belongs to user {NOBODY}" in error
