from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.chunking import ALONE_S, FLOOR_S, GROWTH, LARGEST, TARGET_S, Chunker


def taught(*means_s: float, count: int = LARGEST) -> Chunker:
    chunker = Chunker()
    for mean_s in means_s:
        chunker.learn(mean_s * count, count)
    return chunker


def test_the_first_chunk_is_one_task_and_nothing_waits_behind_it() -> None:
    chunker = Chunker()
    assert (chunker.size, chunker.depth(), chunker.learnt) == (1, 1, False)
    assert chunker.cut(1000, 1, exhausted=False) == 1


def test_chunks_grow_geometrically() -> None:
    chunker = Chunker()
    sizes = [chunker.size]
    for _ in range(5):
        chunker.learn(1e-5 * chunker.size, chunker.size)
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


@pytest.mark.parametrize("mean_s", [0.0, -5.0])
def test_tasks_without_duration_do_no_harm(mean_s: float) -> None:
    chunker = taught(mean_s)
    assert chunker.size >= LARGEST
    assert chunker.expected_s(1.0) > 0


def test_a_chunk_without_cost_teaches_nothing() -> None:
    chunker = Chunker()
    chunker.learn(5.0, 0.0)
    assert not chunker.learnt


def test_costs_say_how_long_a_task_takes() -> None:
    chunker = Chunker()
    chunker.learn(2.0, 100.0)
    chunker.learn(8.0, 400.0)
    assert chunker.expected_s(50.0) == pytest.approx(1.0)
    assert (chunker.depth(1.0), chunker.depth(5.0)) == (2, 1)


def test_the_longest_of_late_is_a_bound_that_fades() -> None:
    chunker = taught(1.0, 9.0, 2.0, count=1)
    assert chunker.longest_s(2.0) == pytest.approx(2 * 9.0 * 0.95)
    for _ in range(200):
        chunker.learn(1.0, 1.0)
    assert chunker.longest_s(1.0) == 1.0


def test_tasks_longer_than_the_target_go_one_by_one() -> None:
    assert taught(TARGET_S * 1.01).size < 1
    assert taught(3600.0).size < 1


@pytest.mark.parametrize(("mean_s", "depth"), [(ALONE_S * 0.99, 2), (ALONE_S, 1), (60.0, 1)])
def test_short_tasks_wait_at_the_slot_and_long_ones_do_not(mean_s: float, depth: int) -> None:
    assert taught(mean_s).depth() == depth


def test_one_outlier_does_not_collapse_the_chunks() -> None:
    chunker = taught(1e-5, 1e-5)
    before = chunker.size
    chunker.learn(10.0 * before, before)
    assert chunker.size >= before // 2
    assert chunker.depth() == 2


def test_tasks_that_have_become_longer_are_learnt() -> None:
    chunker = taught(1e-5)
    for _ in range(20):
        chunker.learn(0.2 * chunker.size, chunker.size)
    assert chunker.size < 1
    assert chunker.depth() == 1


def test_chunks_shrink_toward_the_end_of_a_stage() -> None:
    chunker = taught(1e-3)
    left, sizes = 1000, []
    while left:
        sizes.append(max(1, min(left, int(chunker.cut(left, 4, exhausted=True)))))
        left -= sizes[-1]
    assert sizes[0] == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-5:-1] == [FLOOR_S / 1e-3] * 4


def test_before_its_end_a_stage_shares_what_waits_among_the_slots() -> None:
    chunker = taught(1e-3)
    assert chunker.cut(40, 4, exhausted=False) == 10
    assert chunker.cut(40, 4, exhausted=True) == 5


def test_what_is_less_than_the_floor_goes_together() -> None:
    assert taught(1e-6).cut(3, 64, exhausted=True) > 3


@settings(deadline=None)
@given(
    means_s=st.lists(st.floats(0, 100), max_size=6),
    waiting=st.integers(1, 10**6),
    slots=st.integers(0, 10**5),
    exhausted=st.booleans(),
)
def test_a_chunk_is_never_larger_than_it_may_be(
    means_s: list[float], waiting: int, slots: int, exhausted: bool
) -> None:
    chunker = taught(*means_s)
    assert 0 < chunker.cut(waiting, slots, exhausted=exhausted) <= chunker.size


# -- tasks of different kinds


def mixed(*means_s: float, count: int = LARGEST) -> Chunker:
    chunker = Chunker(mixed=True)
    for mean_s in means_s:
        chunker.learn(mean_s * count, count)
    return chunker


def test_of_different_kinds_a_long_task_makes_the_next_ones_travel_alone() -> None:
    chunker = mixed(1e-6, 1e-6)
    assert chunker.size > LARGEST
    assert chunker.depth() == 2
    chunker.learn(60.0, 1)
    assert chunker.size < 1
    assert chunker.depth() == 1
    assert taught(1e-6, 60.0, count=1).depth() == 2


def test_of_different_kinds_short_tasks_are_packed_again_after_a_while() -> None:
    chunker = mixed(1.0, count=1)
    for _ in range(300):
        cost = max(1.0, chunker.size)
        chunker.learn(1e-6 * cost, cost)
    assert chunker.size > 100


def test_of_different_kinds_no_slot_gets_more_than_its_share() -> None:
    chunker = mixed(1e-6)
    assert chunker.cut(2, 2, exhausted=False) <= 1
    assert chunker.cut(8, 2, exhausted=False) == 2
    assert taught(1e-6).cut(8, 2, exhausted=False) > 8
