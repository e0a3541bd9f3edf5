from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.dashboards.throughput import _covered


@given(
    spans=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), min_size=1),
    bins=st.integers(1, 20),
)
def test_all_busy_time_falls_into_some_bin(spans: list[tuple[float, float]], bins: int) -> None:
    start = np.array([begin for begin, _ in spans])
    end = start + np.array([length for _, length in spans])
    covered = _covered(start, end, np.linspace(0, 16, bins + 1))
    assert covered.sum() == pytest.approx((end - start).sum())
    assert (covered >= -1e-9).all()


def test_an_interval_is_split_where_a_bin_ends() -> None:
    covered = _covered(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.linspace(0, 6, 4))
    assert list(covered) == [1, 3, 0]
