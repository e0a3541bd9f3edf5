from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.core.resources import share_cores
from hpcflow.errors import RequestError

core_sets = st.sets(st.integers(0, 1000), min_size=1, max_size=64).map(sorted)


@given(cores=core_sets, data=st.data())
def test_slots_share_all_cores_evenly_and_without_overlap(
    cores: list[int], data: st.DataObject
) -> None:
    slots = data.draw(st.integers(1, len(cores)))
    shares = [slot.cores for slot in share_cores(cores, slots)]
    assert len(shares) == slots
    assert list(itertools.chain(*shares)) == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(cores=core_sets, more=st.integers(1, 100))
def test_more_slots_than_cores_share_every_core(cores: list[int], more: int) -> None:
    shares = share_cores(cores, len(cores) + more)
    assert len(shares) == len(cores) + more
    assert {slot.cores for slot in shares} == {tuple(cores)}


@pytest.mark.parametrize("slots", [0, -1])
def test_a_farm_without_slots_is_refused(slots: int) -> None:
    with pytest.raises(RequestError, match=rf"cannot start {slots} slots: .* Ask for 1 to 2 slots"):
        share_cores([0, 1], slots)


def test_a_node_without_cores_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot place 3 slots: no core may be used"):
        share_cores([], 3)
