from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.resources import (
    Device,
    SlotResources,
    add_cpu_slots,
    share_cores,
    share_devices,
)
from hpcflow.errors import RequestError

core_sets = st.sets(st.integers(0, 1000), min_size=1, max_size=64).map(sorted)


@settings(deadline=None)
@given(cores=core_sets, data=st.data())
def test_slots_share_all_cores_evenly_and_without_overlap(
    cores: list[int], data: st.DataObject
) -> None:
    slots = data.draw(st.integers(1, len(cores)))
    shares = [slot.cores for slot in share_cores(cores, slots)]
    assert len(shares) == slots
    assert list(itertools.chain(*shares)) == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(deadline=None)
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


@settings(deadline=None)
@given(cores=core_sets, data=st.data())
def test_every_device_has_its_slots_and_every_core_is_used(
    cores: list[int], data: st.DataObject
) -> None:
    devices = [f"GPU-{n}" for n in range(data.draw(st.integers(1, 8)))]
    each = data.draw(st.integers(1, 7))
    slots = share_devices(cores, devices, variable="CUDA_VISIBLE_DEVICES", slots_per_device=each)
    assert [slot.device for slot in slots] == [device for device in devices for _ in range(each)]
    assert {core for slot in slots for core in slot.cores} == set(cores)
    assert {slot.sharing for slot in slots} == {each}


def test_slots_of_one_device_have_neighbouring_cores() -> None:
    slots = share_devices(range(8), ["0", "1"], variable="V", slots_per_device=2)
    assert [(slot.device, slot.cores) for slot in slots] == [
        ("0", (0, 1)),
        ("0", (2, 3)),
        ("1", (4, 5)),
        ("1", (6, 7)),
    ]


def test_a_runner_is_shown_its_own_device_alone() -> None:
    slots = share_devices([0, 1], ["3", "5"], variable="ROCR_VISIBLE_DEVICES", slots_per_device=1)
    assert [slot.environment for slot in slots] == [
        {"ROCR_VISIBLE_DEVICES": "3"},
        {"ROCR_VISIBLE_DEVICES": "5"},
    ]
    assert SlotResources(cores=(0,)).environment == {}


def test_slots_have_cores_near_their_device() -> None:
    """Two GPUs on each of two NUMA nodes, numbered across them; hyperthreads are 8 apart."""
    near = [frozenset({0, 1, 2, 3, 8, 9, 10, 11}), frozenset({4, 5, 6, 7, 12, 13, 14, 15})]
    devices = [Device(name=str(n), uuid=f"GPU-{n}", near=near[n % 2]) for n in range(4)]
    siblings = [(core, core + 8) for core in range(8)]
    slots = share_devices(range(16), devices, variable="V", slots_per_device=1, siblings=siblings)
    assert [(slot.device, slot.uuid, slot.cores) for slot in slots] == [
        ("0", "GPU-0", (0, 1, 8, 9)),
        ("1", "GPU-1", (4, 5, 12, 13)),
        ("2", "GPU-2", (2, 3, 10, 11)),
        ("3", "GPU-3", (6, 7, 14, 15)),
    ]


def test_slots_without_devices_do_not_divide_hyperthreads() -> None:
    shares = share_cores(range(8), 2, siblings=[(core, core + 4) for core in range(4)])
    assert [slot.cores for slot in shares] == [(0, 1, 4, 5), (2, 3, 6, 7)]


def test_cuda_numbers_devices_as_launchers_do() -> None:
    slot = SlotResources(cores=(0,), device="1", variable="CUDA_VISIBLE_DEVICES")
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("cores", "devices", "each", "says"),
    [
        ([0, 1], [], 1, "cannot start 0 slots"),
        ([0, 1], ["0"], 0, "cannot start 0 slots"),
        ([], ["0"], 1, "no core may be used"),
    ],
)
def test_slots_without_devices_or_cores_are_refused(
    cores: list[int], devices: list[str], each: int, says: str
) -> None:
    with pytest.raises(RequestError, match=says):
        share_devices(cores, devices, variable="V", slots_per_device=each)


@settings(deadline=None)
@given(cores=core_sets, data=st.data())
def test_cpu_slots_have_a_core_each_that_gpu_slots_cede_evenly(
    cores: list[int], data: st.DataObject
) -> None:
    gpu = data.draw(st.integers(1, len(cores)))
    count = data.draw(st.integers(0, len(cores) - gpu))
    before = share_devices(cores, [str(n) for n in range(gpu)], variable="V", slots_per_device=1)
    slots = add_cpu_slots(before, count)
    assert [slot.device for slot in slots] == [*map(str, range(gpu)), *["cpu"] * count]
    assert sorted(itertools.chain(*(slot.cores for slot in slots))) == cores
    assert all(len(slot.cores) == 1 for slot in slots[gpu:])
    sizes = [len(slot.cores) for slot in slots[:gpu]]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_hyperthreads_of_one_core_are_ceded_together_unless_there_are_too_few() -> None:
    siblings = [(core, core + 4) for core in range(4)]
    before = share_devices(
        range(8), ["0", "1"], variable="V", slots_per_device=1, siblings=siblings
    )
    slots = add_cpu_slots(before, 2, siblings=siblings)
    assert [slot.cores for slot in slots] == [(0, 4), (2, 6), (1, 5), (3, 7)]
    slots = add_cpu_slots(before, 6, siblings=siblings)
    assert sorted(core for slot in slots for core in slot.cores) == list(range(8))
    assert all(len(slot.cores) == 1 for slot in slots)


def test_where_cores_are_fewer_than_slots_all_of_both_pools_share_them() -> None:
    before = share_devices([0, 1], ["0", "1"], variable="V", slots_per_device=1)
    slots = add_cpu_slots(before, 1)
    assert [(slot.device, slot.cores) for slot in slots] == [
        ("0", (0, 1)),
        ("1", (0, 1)),
        ("cpu", (0, 1)),
    ]


def test_a_cpu_slot_next_to_gpus_sees_none_of_them() -> None:
    before = share_devices([0, 1, 2], ["0", "1"], variable="V", slots_per_device=1)
    seen = [slot.environment for slot in add_cpu_slots(before, 1)]
    assert seen == [{"V": "0"}, {"V": "1"}, {"V": "-1"}]
