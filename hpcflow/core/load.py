"""Which slots there are, and how many chunks each of them holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

MOST = 2
"""Chunks that a slot may hold at most: one that runs and one that waits behind it."""


class Load:
    """Slots of every pool, filed by the chunks they hold, longest waiting first."""

    def __init__(self) -> None:
        self._filed: dict[str, list[dict[str, None]]] = {}
        """By pool and number of chunks below `MOST`."""
        self._pools: dict[str, str] = {}
        """The pool of each slot."""
        self._counts: Counter[str] = Counter()

    def join(self, slot: str, pool: str) -> None:
        """Take in a slot without chunks."""
        self._pools[slot] = pool
        self._counts[pool] += 1
        self._filed.setdefault(pool, [{} for _ in range(MOST)])[0][slot] = None

    def leave(self, slot: str) -> None:
        """Forget a slot."""
        self.drop(slot)
        self._counts[self._pools.pop(slot)] -= 1

    def file(self, slot: str, held: int) -> None:
        """File a slot by the chunks it holds now, behind the others that hold as many."""
        self.drop(slot)
        if held < MOST:
            self._filed[self._pools[slot]][held][slot] = None

    def drop(self, slot: str) -> None:
        """Take a slot that has no room for another chunk off the file."""
        for filed in self._filed[self._pools[slot]]:
            filed.pop(slot, None)

    def count(self, pool: str | None) -> int:
        """Return the number of slots in a pool; in all of them if None."""
        return len(self._pools) if pool is None else self._counts[pool]

    def least(self, pool: str | None, *, below: int) -> Iterator[str]:
        """Yield the slots of a pool that hold fewer than `below` chunks, by that number.

        Slots may be dropped while they are looked at.
        """
        pools = [pool] if pool in self._filed else [] if pool is not None else list(self._filed)
        for held in range(below):
            for name in pools:
                filed = self._filed[name][held]
                while filed:
                    slot = next(iter(filed))
                    yield slot
                    if slot in filed:
                        break
