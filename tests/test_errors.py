from __future__ import annotations

from concurrent.futures import BrokenExecutor

import pytest

from hpcflow.errors import (
    BrokenFarmError,
    FarmError,
    HpcflowError,
    JournalError,
    RequestError,
    TaskError,
    nearest,
)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (RequestError, ValueError),
        (JournalError, OSError),
        (FarmError, RuntimeError),
        (TaskError, FarmError),
        (BrokenFarmError, BrokenExecutor),
        (BrokenFarmError, FarmError),
    ],
)
def test_every_error_is_one_of_ours_and_one_of_pythons(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    error = kind("cannot do 3 of it: there are 2. Ask for 2.")
    assert isinstance(error, HpcflowError)
    assert isinstance(error, builtin)
    assert str(error) == "cannot do 3 of it: there are 2. Ask for 2."


def test_a_misspelt_name_is_answered_with_the_nearest_known_one() -> None:
    known = ["timestep_fs", "temperature_k", "friction_per_ps"]
    assert nearest("temprature", known) == "did you mean 'temperature_k'?"


def test_a_name_like_no_other_is_answered_with_all_that_are_known() -> None:
    assert nearest("zzz", iter(["b", "a"])) == "known: a, b"
