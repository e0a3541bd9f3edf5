"""Which cores go to which slot: near its device where that is known, else in contiguous runs.

Cores that are near the same devices form a domain, a NUMA node as a rule. Each domain is shared
out among the slots on its devices. What is near no device goes where it is needed most, and slots
whose device has no core near it that they may use get theirs from the domains with most.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_Unit = tuple[int, ...]


@dataclass(slots=True)
class _Domain:
    """Slots that want the same cores, and what they get."""

    near: frozenset[int]
    """Units that are near."""
    slots: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    @property
    def wealth(self) -> float:
        return len(self.units) / len(self.slots)

    @property
    def spare(self) -> int:
        return len(self.units) - len(self.slots)


def share_near(
    cores: Sequence[int],
    wishes: Sequence[frozenset[int]],
    *,
    siblings: Iterable[Iterable[int]] = (),
) -> list[tuple[int, ...]]:
    """Divide cores among slots, so that each core has one slot and each slot a core at least.

    Parameters
    ----------
    cores
        Logical cores that may be used: as many as slots at least.
    wishes
        For each slot the cores near its device, those that may not be used included; empty where
        nothing is known.
    siblings
        Groups of logical cores that are hyperthreads of one; they stay together unless there are
        more slots than groups.

    Examples
    --------
    Two devices on the second of two NUMA nodes, one on the first.

    >>> first, second = frozenset({0, 1, 2}), frozenset({3, 4, 5})
    >>> share_near(range(6), [second, first, second])
    [(3,), (0, 1, 2), (4, 5)]
    """
    units = _units(cores, siblings)
    if len(units) < len(wishes):
        units = [(core,) for unit in units for core in unit]
    domains = _domains(units, wishes)
    _settle(domains, len(units))
    _relieve(domains)
    shares: dict[int, tuple[int, ...]] = {}
    for domain in domains:
        for slot, own in zip(domain.slots, _split(domain), strict=True):
            shares[slot] = tuple(sorted(core for unit in own for core in units[unit]))
    return [shares[slot] for slot in range(len(wishes))]


def _units(cores: Sequence[int], siblings: Iterable[Iterable[int]]) -> list[_Unit]:
    """Return the cores in groups of siblings, by their first core."""
    group_of = {core: tuple(sorted(group)) for group in map(tuple, siblings) for core in group}
    units: dict[_Unit, list[int]] = {}
    for core in sorted(cores):
        units.setdefault(group_of.get(core, (core,)), []).append(core)
    return sorted(tuple(unit) for unit in units.values())


def _domains(units: Sequence[_Unit], wishes: Sequence[frozenset[int]]) -> list[_Domain]:
    domains: dict[frozenset[int], _Domain] = {}
    for slot, wish in enumerate(wishes):
        near = frozenset(n for n, unit in enumerate(units) if not wish.isdisjoint(unit))
        domains.setdefault(near, _Domain(near)).slots.append(slot)
    return list(domains.values())


def _settle(domains: list[_Domain], units: int) -> None:
    """Give each unit to the poorest domain that it is near to; then, the others to the poorest."""
    far = []
    for unit in range(units):
        claims = [domain for domain in domains if unit in domain.near]
        if claims:
            min(claims, key=lambda domain: domain.wealth).units.append(unit)
        else:
            far.append(unit)
    for unit in far:
        min(domains, key=lambda domain: domain.wealth).units.append(unit)


def _relieve(domains: list[_Domain]) -> None:
    """Give every slot a unit, and those that want none in particular as many as others have."""
    while True:
        donors = [domain for domain in domains if domain.spare > 0]
        rich = max(donors, key=lambda domain: domain.wealth, default=None)
        needy = [domain for domain in domains if domain.spare < 0]
        needy += [
            domain
            for domain in domains
            if rich is not None and not domain.near and _would_gain(domain, rich)
        ]
        if rich is None or not needy:
            return
        needy[0].units.append(rich.units.pop())


def _split(domain: _Domain) -> list[list[int]]:
    """Share out a domain's units among its slots: what is near in runs, then the rest."""
    count = len(domain.slots)
    near = sorted(domain.near.intersection(domain.units) or domain.units)
    edges = [len(near) * i // count for i in range(count + 1)]
    shares = [near[begin:end] for begin, end in itertools.pairwise(edges)]
    for unit in sorted(set(domain.units).difference(near)):
        min(shares, key=len).append(unit)
    return shares


def _would_gain(poor: _Domain, rich: _Domain) -> bool:
    after = (len(rich.units) - 1) / len(rich.slots)
    return poor is not rich and after >= (len(poor.units) + 1) / len(poor.slots)
