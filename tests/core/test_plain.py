from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.plain import DEEPEST, is_plain


class Whole(int):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Name(str):
    __slots__ = ()


class Row(list[int]):
    pass


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=3)
    | st.complex_numbers()
    | st.sampled_from([Whole(3), Colour.RED, Name("x"), Row([1]), np.float64(0.5), np.int64(3)])
    | st.builds(OrderedDict, st.dictionaries(st.text(max_size=2), st.integers(), max_size=2))
)
keys = st.text(st.characters(), max_size=3) | st.integers() | st.just(Name("x")) | st.none()
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=2)
        | st.tuples(inner)
    ),
    max_leaves=12,
)
plain_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
plain = st.recursive(
    plain_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


def nested(levels: int, *, kind: type) -> Any:
    value: Any = 1.5
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@settings(deadline=None)
@given(anything | plain)
def test_a_plain_value_comes_back_from_json_and_msgpack_as_it_was(value: Any) -> None:
    if is_plain(value):
        assert same(msgspec.json.decode(msgspec.json.encode(value)), value)
        assert same(msgspec.msgpack.decode(msgspec.msgpack.encode(value)), value)


@settings(deadline=None)
@given(plain)
def test_what_json_can_say_is_plain(value: Any) -> None:
    assert is_plain(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        b"bytes",
        1j,
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\udcff": 1},
        {1: "x"},
        {None: 1},
        Whole(3),
        Colour.RED,
        Name("x"),
        {Name("x"): 1},
        Row([1]),
        OrderedDict(a=1),
        np.float64(1.5),
        np.int64(3),
        np.zeros(3),
        object(),
        [[[(1,)]]],
        {"a": [{"b": math.nan}]},
    ],
    ids=repr,
)
def test_what_json_would_change_is_not_plain(value: Any) -> None:
    assert not is_plain(value)


@pytest.mark.parametrize("kind", [list, dict])
def test_a_nest_is_plain_only_as_deep_as_every_reader_can_follow(kind: type) -> None:
    assert is_plain(nested(DEEPEST, kind=kind))
    assert not is_plain(nested(DEEPEST + 1, kind=kind))
    assert not is_plain(nested(100_000, kind=kind))


def test_a_list_that_holds_itself_is_not_plain() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert not is_plain(cycle)
