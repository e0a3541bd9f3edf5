"""Which slots are on which device, so that no device has more than may be."""

from __future__ import annotations

from collections import defaultdict

from hpcflow.core.resources import CPU
from hpcflow.farm.wire import SlotInfo


class Occupancy:
    """The slots that are up, by device.

    A device is told by its UUID where that is known: one name may mean two devices, since a
    container or a launcher counts only those that it shows, and two names may mean one. Where a
    slot does not know its device's UUID, name and host must do.
    """

    def __init__(self) -> None:
        self._by_uuid: defaultdict[str, dict[str, SlotInfo]] = defaultdict(dict)
        self._by_name: defaultdict[tuple[str, str], dict[str, SlotInfo]] = defaultdict(dict)

    def rivals(self, slot: SlotInfo) -> list[str]:
        """Return the slots that are up on a slot's device; any number may share the cores."""
        if slot.device == CPU:
            return []
        alike = self._by_name[slot.host, slot.device]
        if not slot.uuid:
            return list(alike)
        unsure = [name for name, other in alike.items() if not other.uuid]
        return [*self._by_uuid[slot.uuid], *unsure]

    def add(self, slot: SlotInfo) -> None:
        """Take in a slot that is up."""
        self._by_name[slot.host, slot.device][slot.name] = slot
        if slot.uuid:
            self._by_uuid[slot.uuid][slot.name] = slot

    def remove(self, slot: SlotInfo) -> None:
        """Forget a slot that was up."""
        del self._by_name[slot.host, slot.device][slot.name]
        if slot.uuid:
            del self._by_uuid[slot.uuid][slot.name]
