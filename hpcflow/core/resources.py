"""How the cores and devices of a node become slots."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hpcflow.core.topology import share_near
from hpcflow.errors import RequestError

CPU = "cpu"
"""Device of a slot that has none of its own, and the pool of such slots."""
GPU = "gpu"
"""The pool of slots that have a device."""
CUDA_DEVICES = "CUDA_VISIBLE_DEVICES"
CUDA_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Lets CUDA number devices as launchers do; by itself it numbers the fastest first."""
NO_DEVICE = "-1"
"""What hides every device: the lists of CUDA, HIP and ROCr end at an index that there is not."""


def pool_of(device: str) -> str:
    """Return the pool of the slots on a device: `gpu`, or `cpu` for those without any."""
    return CPU if device == CPU else GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResources:
    """What one slot is pinned to."""

    cores: tuple[int, ...]
    """Logical cores that it may use; its thread-count variables say how many."""
    device: str = CPU
    """`cpu`, or the name by which the device's runtime knows it."""
    variable: str | None = None
    """Environment variable that shows the runner its device and no other, or none at all."""
    sharing: int = 1
    """Slots that may be on the device at a time."""
    uuid: str = ""
    """What tells the device from all others, wherever it is seen from; empty if unknown."""

    @property
    def environment(self) -> dict[str, str]:
        """What a runner's environment must say of its device."""
        if self.variable is None:
            return {}
        order = CUDA_ORDER if self.variable == CUDA_DEVICES else {}
        return {self.variable: NO_DEVICE if self.device == CPU else self.device, **order}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that slots may be on."""

    name: str
    """By which its runtime knows it in the variable that shows a process its devices."""
    uuid: str = ""
    """What tells it from all others, wherever it is seen from; empty if unknown."""
    near: frozenset[int] = frozenset()
    """Logical cores near it; empty if unknown."""


def share_cores(
    cores: Sequence[int], slots: int, *, siblings: Iterable[Iterable[int]] = ()
) -> list[SlotResources]:
    """Divide a node's cores among its slots, in contiguous runs of near-equal length.

    With more slots than cores every slot may use every core and counts on one.

    Parameters
    ----------
    cores
        Logical cores that may be used.
    slots
        Number of slots.
    siblings
        Groups of logical cores that are hyperthreads of one, which are not divided without need.

    Raises
    ------
    RequestError
        If there are no slots or no cores.

    Examples
    --------
    >>> [slot.cores for slot in share_cores([0, 1, 2, 3, 4], 2)]
    [(0, 1), (2, 3, 4)]
    """
    if slots < 1:
        raise RequestError(
            f"cannot start {slots} slots: a farm has at least 1. Ask for 1 to {len(cores)} slots,"
            " or leave `slots` out to use every core."
        )
    if not cores:
        raise RequestError(f"cannot place {slots} slots: no core may be used. Check the cpuset.")
    if slots > len(cores):
        return [SlotResources(cores=tuple(cores))] * slots
    shares = share_near(cores, [frozenset()] * slots, siblings=siblings)
    return [SlotResources(cores=share) for share in shares]


def share_devices(
    cores: Sequence[int],
    devices: Sequence[str | Device],
    *,
    variable: str,
    slots_per_device: int,
    siblings: Iterable[Iterable[int]] = (),
) -> list[SlotResources]:
    """Give every slot its device, and a share of the cores: near the device where that is known.

    With more slots than cores every slot may use every core and counts on one.

    Parameters
    ----------
    cores
        Logical cores that may be used.
    devices
        The devices that may be used, each once, or their names where no more is known.
    variable
        Environment variable that names a process's devices, such as `CUDA_VISIBLE_DEVICES`.
    slots_per_device
        Slots on each device.
    siblings
        Groups of logical cores that are hyperthreads of one, which are not divided without need.

    Raises
    ------
    RequestError
        If there is no device, no slot on one, or no core.

    Examples
    --------
    >>> slots = share_devices([0, 1, 2, 3], ["0", "1"], variable="V", slots_per_device=1)
    >>> [(slot.device, slot.cores) for slot in slots]
    [('0', (0, 1)), ('1', (2, 3))]
    """
    known = [Device(name=each) if isinstance(each, str) else each for each in devices]
    placed = [device for device in known for _ in range(slots_per_device)]
    shares = [each.cores for each in share_cores(cores, len(placed))]
    if len(placed) <= len(cores):
        shares = share_near(cores, [device.near for device in placed], siblings=siblings)
    return [
        SlotResources(
            cores=share,
            device=device.name,
            variable=variable,
            sharing=slots_per_device,
            uuid=device.uuid,
        )
        for share, device in zip(shares, placed, strict=True)
    ]


def add_cpu_slots(
    slots: Sequence[SlotResources], count: int, *, siblings: Iterable[Iterable[int]] = ()
) -> list[SlotResources]:
    """Return a node's GPU slots, and `count` CPU slots next to them with a core each.

    The GPU slots cede these cores, those with most first, and keep one each at least. With more
    slots than cores every slot may use every core and counts on one. CPU slots see no device.

    Parameters
    ----------
    slots
        The GPU slots, at least one.
    count
        CPU slots to add.
    siblings
        Groups of logical cores that are hyperthreads of one, which are not divided without need.

    Examples
    --------
    >>> slots = share_devices([0, 1, 2, 3, 4], ["0", "1"], variable="V", slots_per_device=1)
    >>> [(slot.device, slot.cores) for slot in add_cpu_slots(slots, 2)]
    [('0', (0,)), ('1', (2, 3)), ('cpu', (1,)), ('cpu', (4,))]
    """
    cores = tuple(sorted({core for slot in slots for core in slot.cores}))
    variable = slots[0].variable
    if len(slots) + count > len(cores):
        shared = [replace(slot, cores=cores) for slot in slots]
        return shared + [SlotResources(cores=cores, variable=variable)] * count
    groups = [tuple(group) for group in siblings]
    left = [_whole(slot.cores, groups) for slot in slots]
    if sum(map(len, left)) < len(slots) + count:
        left = [[(core,) for core in slot.cores] for slot in slots]
    ceded = sorted(max(left, key=len).pop() for _ in range(count))
    kept = [
        replace(slot, cores=tuple(sorted(itertools.chain(*own))))
        for slot, own in zip(slots, left, strict=True)
    ]
    return kept + [SlotResources(cores=own, variable=variable) for own in ceded]


def _whole(cores: Iterable[int], siblings: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return a slot's cores, its hyperthreads of one core together."""
    group_of = {core: min(group) for group in siblings for core in group}
    groups: dict[int, list[int]] = {}
    for core in sorted(cores):
        groups.setdefault(group_of.get(core, core), []).append(core)
    return [tuple(group) for group in groups.values()]
