from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.chunking import ALONE_S, FLOOR_S, GROWTH, LARGEST, TARGET_S, Chunker


def taught(*means_s: float, count: int = LARGEST) -> Chunker:
    chunker = Chunker()
    for mean_s in means_s:
        chunker.learn(mean_s, count)
    return chunker


def test_the_first_chunk_is_one_task_and_nothing_waits_behind_it() -> None:
    chunker = Chunker()
    assert (chunker.size, chunker.depth) == (1, 1)
    assert chunker.cut(1000, 1, exhausted=False) == 1


def test_chunks_grow_geometrically() -> None:
    chunker = Chunker()
    sizes = [chunker.size]
    for _ in range(5):
        chunker.learn(1e-5, chunker.size)
        sizes.append(chunker.size)
    assert sizes == [GROWTH**n for n in range(6)]


def test_a_task_that_travelled_alone_does_not_make_the_next_chunk_smaller() -> None:
    chunker = taught(1e-4)
    before = chunker.size
    chunker.learn(1e-4, 1)
    assert chunker.size == before


@pytest.mark.parametrize("mean_s", [1e-5, 1e-4, 1e-3, 1e-2])
def test_chunks_last_about_the_target(mean_s: float) -> None:
    size = taught(mean_s).size
    assert size * mean_s == pytest.approx(TARGET_S, rel=0.02)


def test_chunks_of_tasks_without_duration_are_bounded() -> None:
    assert taught(0.0).size == LARGEST


def test_a_clock_that_went_back_does_no_harm() -> None:
    assert taught(-5.0).size == LARGEST


def test_tasks_longer_than_the_target_go_one_by_one() -> None:
    assert taught(TARGET_S * 1.01).size == 1
    assert taught(3600.0).size == 1


@pytest.mark.parametrize(("mean_s", "depth"), [(ALONE_S * 0.99, 2), (ALONE_S, 1), (60.0, 1)])
def test_short_tasks_wait_at_the_slot_and_long_ones_do_not(mean_s: float, depth: int) -> None:
    assert taught(mean_s).depth == depth


def test_one_outlier_does_not_collapse_the_chunks() -> None:
    chunker = taught(1e-5, 1e-5)
    before = chunker.size
    chunker.learn(10.0, before)
    assert chunker.size >= before // 2
    assert chunker.depth == 2


def test_tasks_that_have_become_longer_are_learnt() -> None:
    chunker = taught(1e-5)
    for _ in range(20):
        chunker.learn(0.2, chunker.size)
    assert (chunker.size, chunker.depth) == (1, 1)


def test_chunks_shrink_toward_the_end_of_a_stage() -> None:
    chunker = taught(1e-3)
    left, sizes = 1000, []
    while left:
        sizes.append(chunker.cut(left, 4, exhausted=True))
        left -= sizes[-1]
    assert sizes[0] == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-5:-1] == [FLOOR_S / 1e-3] * 4


def test_before_its_end_a_stage_shares_what_waits_among_the_slots() -> None:
    chunker = taught(1e-3)
    assert chunker.cut(40, 4, exhausted=False) == 10
    assert chunker.cut(40, 4, exhausted=True) == 5
    assert chunker.cut(41, 4, exhausted=False) == 11


def test_what_is_less_than_the_floor_goes_together() -> None:
    assert taught(1e-6).cut(3, 64, exhausted=True) == 3


@settings(deadline=None)
@given(
    means_s=st.lists(st.floats(0, 100), max_size=6),
    waiting=st.integers(1, 10**6),
    slots=st.integers(0, 10**5),
    exhausted=st.booleans(),
)
def test_a_chunk_is_never_empty_nor_larger_than_what_waits(
    means_s: list[float], waiting: int, slots: int, exhausted: bool
) -> None:
    chunker = taught(*means_s)
    cut = chunker.cut(waiting, slots, exhausted=exhausted)
    assert 1 <= cut <= min(waiting, chunker.size, LARGEST)
