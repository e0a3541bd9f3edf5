"""Events of every kind, drawn at random, and one run with most of them in it."""

from __future__ import annotations

import typing
from typing import Any

from hypothesis import strategies as st

from hpcflow.core.event import AnyEvent, PayloadRef
from hpcflow.core.task import Cause, ErrorText
from tests.journals import Script

KINDS: tuple[type[AnyEvent], ...] = typing.get_args(AnyEvent)

_text = st.text(max_size=12)
_number = st.integers(-(2**63), 2**63 - 1)
_float = st.floats(allow_nan=False, allow_infinity=False)
_reference = st.builds(PayloadRef, file=_text, size=_number, digest=_text)
_plain = st.recursive(
    st.none() | st.booleans() | _number | _float | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: _number,
    int | None: st.none() | _number,
    float: _float,
    str: _text,
    tuple[int, ...]: st.lists(_number, max_size=4).map(tuple),
    list[str]: st.lists(_text, max_size=4),
    list[float]: st.lists(_float, max_size=4),
    list[Any]: st.lists(_plain, max_size=4),
    dict[int, bytes]: st.dictionaries(st.integers(0, 9), st.binary(max_size=9), max_size=3),
    dict[int, PayloadRef]: st.dictionaries(st.integers(0, 9), _reference, max_size=2),
    Cause: st.sampled_from(Cause),
    ErrorText: st.builds(ErrorText, type=_text, message=_text, traceback=_text),
}


def events_of(kind: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    """Return a strategy of events of one kind, every field drawn."""
    fields = {name: _FIELDS[annotation] for name, annotation in typing.get_type_hints(kind).items()}
    return st.builds(kind, **fields)


any_event = st.one_of([events_of(kind) for kind in KINDS])


def a_run() -> Script:
    """Return a finished run: tasks that succeed, fail, are tried again, and lose their slot."""
    script = Script().session(0, slots=2).joined(1, "a").joined(1, "b").stage(2, total=6)
    script.offered(2, "k0", "k1", "k2", "k3").sent(3, "k0", "k1").sent(3, "k2", slot="b")
    script.ran(4, [("k0", 3, 3.5), ("k1", 3.5, 4)], values=[{"energy": -44.3}, "Å"])
    script.slot_lost(5, "b").attempt_lost(5, "k2", slot="b").joined(6, "b")
    script.sent(6, "k2", slot="b", attempt=2).ran(7, [("k2", 6, 7)], slot="b", attempt=2)
    script.sent(7, "k3").failed(8, "k3", (7, 8), again=True)
    script.sent(8, "k3", attempt=2).failed(9, "k3", (8, 9), attempt=2)
    script.offered(9, "k4", "k5").sent(9, "k4", "k5").ran(10, [("k4", 9, 9.5), ("k5", 9.5, 10)])
    return script.stage_closed(10, offered=6).close(11)
