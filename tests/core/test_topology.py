from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.topology import share_near


@st.composite
def nodes(draw: st.DrawFn) -> tuple[list[int], list[frozenset[int]], list[tuple[int, ...]]]:
    """Draw a node: cores that may be used, what slots wish for, and hyperthreads."""
    physical = draw(st.integers(1, 24))
    threads = draw(st.integers(1, 2))
    siblings = [tuple(core + physical * t for t in range(threads)) for core in range(physical)]
    every = list(range(physical * threads))
    cores = sorted(draw(st.sets(st.sampled_from(every), min_size=1)))
    wish = st.frozensets(st.sampled_from(every))
    wishes = draw(st.lists(wish, min_size=1, max_size=len(cores)))
    return cores, wishes, siblings


@settings(deadline=None, max_examples=300)
@given(node=nodes())
def test_every_core_has_one_slot_and_every_slot_a_core_whatever_is_near(
    node: tuple[list[int], list[frozenset[int]], list[tuple[int, ...]]],
) -> None:
    cores, wishes, siblings = node
    shares = share_near(cores, wishes, siblings=siblings)
    assert len(shares) == len(wishes)
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == cores


@settings(deadline=None, max_examples=300)
@given(node=nodes())
def test_hyperthreads_stay_together_where_there_are_enough_cores(
    node: tuple[list[int], list[frozenset[int]], list[tuple[int, ...]]],
) -> None:
    cores, wishes, siblings = node
    present = [set(group) & set(cores) for group in siblings]
    groups = [group for group in present if group]
    shares = share_near(cores, wishes, siblings=siblings)
    if len(groups) >= len(wishes):
        for group in groups:
            assert sum(not group.isdisjoint(share) for share in shares) == 1


@settings(deadline=None, max_examples=300)
@given(data=st.data(), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_slots_have_only_cores_near_their_device_where_each_node_has_enough(
    data: st.DataObject, sizes: list[int]
) -> None:
    edges = list(itertools.accumulate(sizes, initial=0))
    numa = [frozenset(range(a, b)) for a, b in itertools.pairwise(edges)]
    counts = [data.draw(st.integers(0 if n else 1, size)) for n, size in enumerate(sizes)]
    wishes = [numa[n] for n, count in enumerate(counts) for _ in range(count)]
    order = data.draw(st.permutations(range(len(wishes))))
    shares = share_near(range(edges[-1]), [wishes[n] for n in order])
    for slot, share in zip(order, shares, strict=True):
        assert wishes[slot] & set(share), "each has some of its own"
        others = set(share) - wishes[slot]
        assert all(not counts[n] for n in range(len(numa)) if others & numa[n])
    for n, node in enumerate(numa):
        within = [
            len(node & set(shares[at])) for at, slot in enumerate(order) if wishes[slot] == node
        ]
        assert not counts[n] or max(within) - min(within) <= 1


@settings(deadline=None, max_examples=300)
@given(
    cores=st.sets(st.integers(0, 200), min_size=1, max_size=64).map(sorted),
    data=st.data(),
)
def test_shares_are_even_and_contiguous_where_nothing_is_known(
    cores: list[int], data: st.DataObject
) -> None:
    slots = data.draw(st.integers(1, len(cores)))
    shares = share_near(cores, [frozenset()] * slots)
    assert list(itertools.chain(*shares)) == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_device_whose_cores_are_not_ours_gets_a_fair_share_of_the_others() -> None:
    """Scheduler and driver have the cores near the first of eight devices, as on Frontier."""
    near = [frozenset(range(8 * n, 8 * n + 8)) for n in range(8)]
    shares = share_near(range(8, 64), near)
    assert min(map(len, shares)) >= 6
    assert all(set(share) <= near[n] for n, share in enumerate(shares) if n)


def test_a_crowded_node_takes_what_it_lacks_from_the_other() -> None:
    near = frozenset({0}), frozenset(range(1, 8))
    shares = share_near(range(8), [near[0], near[0], near[0], near[1]])
    assert [len(share) for share in shares] == [1, 1, 1, 5]
