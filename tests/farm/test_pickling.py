"""Digests: the same content in every session, another one for whatever differs."""

from __future__ import annotations

import functools
import math
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcflow.farm.pickling import are_short_numbers, digest_input


def digest(value: Any) -> str:
    return digest_input(value, b"")


def adder(number: int) -> Callable[[int], int]:
    return lambda other: number + other


def scaled(number: float, *, factor: float = 2.0) -> float:
    """Scale."""
    return number * factor


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scale(self, number: int) -> int:
        return self.factor * number


def endless() -> Callable[[], Any]:
    def again() -> Any:
        return again()

    return again


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (adder(1), adder(2)),
        (lambda: 1, lambda: 2),
        (scaled, adder),
        (functools.partial(scaled, 1), functools.partial(scaled, 2)),
        (Scaler(1).scale, Scaler(2).scale),
        ("a".join, "b".join),
        (random.Random(1).gauss, random.Random(2).gauss),
        (math.sin, math.cos),
        (int, float),
    ],
)
def test_functions_that_differ_have_different_digests(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest([1, one]) != digest([1, other])


@pytest.mark.parametrize("make", [lambda: adder(1), lambda: Scaler(1).scale, lambda: "a".join])
def test_functions_made_alike_have_one_digest(make: Callable[[], Any]) -> None:
    assert digest(make()) == digest(make())


def test_a_function_that_holds_itself_has_a_digest() -> None:
    assert digest(endless())


def test_a_number_is_its_own_digest() -> None:
    values = [7, 7.0, -0.25, True, None, 10**30]
    assert [digest(value) for value in values] == list(map(repr, values))


def test_an_integer_that_is_too_long_for_a_key_has_a_digest() -> None:
    digests = [digest_input(value, pickle.dumps(value)) for value in (10**5000, -(10**5000))]
    assert [len(each) for each in digests] == [12, 12]
    assert digests[0] != digests[1]
    assert not are_short_numbers([1, 10**40])
    assert are_short_numbers([1, -(10**39), 0.5, None])


def test_a_digest_is_as_long_as_asked_for() -> None:
    assert len(digest("x")) == 12
    assert len(digest_input("x", b"", size=8)) == 16


SCRIPT = """
import functools
from hpcflow.farm.pickling import digest_input

def add(a, b=1):
    '''{comment}'''  # {comment}
    return a + b

print(digest_input((functools.partial(add, {{"x", "y", "z"}}), lambda: add, {{"k": 1}}), b""))
"""


def test_digests_are_the_same_in_every_session_whatever_comments_say(tmp_path: Path) -> None:
    digests = set()
    for comment in ("Add.", "Sum up."):
        (tmp_path / "script.py").write_text(SCRIPT.format(comment=comment))
        answer = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        digests.add(answer.stdout)
    assert len(digests) == 1
