from __future__ import annotations

import pytest

from hpcflow.timing.span import EmptyWindowError, Span, idle_fraction, spans_of
from tests.journals import Script


def test_each_task_of_a_chunk_has_its_span() -> None:
    script = Script().session(0).joined(0).stage(0, total=2).offered(0, "k0", "k1")
    script.sent(0, "k0", "k1").ran(9, [("k0", 1, 4), ("k1", 4, 9)])
    assert list(spans_of(script.events)) == [
        Span(slot="a", stage="simulate", key="k0", started=1, finished=4),
        Span(slot="a", stage="simulate", key="k1", started=4, finished=9),
    ]


def test_only_the_part_inside_the_window_is_busy() -> None:
    spans = [Span(slot="a", started=-5, finished=2), Span(slot="a", started=8, finished=20)]
    assert idle_fraction(spans, slots=1, begin=0, end=10) == pytest.approx(0.6)


@pytest.mark.parametrize(("slots", "end"), [(0, 10), (1, 0), (1, -1)])
def test_an_empty_window_has_no_idle_fraction(slots: int, end: float) -> None:
    with pytest.raises(EmptyWindowError, match="cannot tell how idle"):
        idle_fraction([], slots=slots, begin=0, end=end)
