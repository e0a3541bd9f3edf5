"""How the cores and devices of a node become slots."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hpcflow.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResources:
    """What one slot is pinned to."""

    cores: tuple[int, ...]
    """Logical cores that it may use; its thread-count variables say how many."""
    device: str = "cpu"


def share_cores(cores: Sequence[int], slots: int) -> list[SlotResources]:
    """Divide a node's cores among its slots, in contiguous runs of near-equal length.

    With more slots than cores every slot may use every core and counts on one.

    Parameters
    ----------
    cores
        Logical cores that may be used.
    slots
        Number of slots.

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
    edges = [len(cores) * i // slots for i in range(slots + 1)]
    return [SlotResources(cores=tuple(cores[a:b])) for a, b in itertools.pairwise(edges)]
