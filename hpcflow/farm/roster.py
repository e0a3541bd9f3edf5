"""Which slots are up, and on which device, so that no device has more than may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

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


class Roster:
    """The slots that are up, and those that will not come up."""

    def __init__(self) -> None:
        self._up: dict[str, SlotInfo] = {}
        self._occupancy = Occupancy()
        self._refusals: dict[str, str] = {}

    def join(self, slot: SlotInfo) -> str | None:
        """Take in a slot that is up; where its device is taken, return why it may not be."""
        rivals = self._occupancy.rivals(slot)
        if len(rivals) >= slot.sharing:
            return (
                f"cannot use slot {slot.name}: {', '.join(rivals)} is on device"
                f" {slot.uuid or slot.device} of {slot.host} already, and {slot.sharing} may be."
                " Mend the launcher's options, or ask for more slots a device."
            )
        self._up[slot.name] = slot
        self._occupancy.add(slot)
        self._refusals.pop(slot.name, None)
        return None

    def leave(self, name: str) -> bool:
        """Forget a slot; return whether it was up."""
        slot = self._up.pop(name, None)
        if slot is not None:
            self._occupancy.remove(slot)
        return slot is not None

    def refuse(self, name: str, reason: str) -> int:
        """Take note that a slot will not come up; return how many will not."""
        self._refusals[name] = reason
        return len(self._refusals)

    @property
    def trouble(self) -> str:
        """Why slots do not come up, as far as one has said."""
        return next(iter(self._refusals.values()), "no worker has reported a problem")

    def of_worker(self, worker: str) -> list[str]:
        """Return the slots of a worker that are up."""
        return [name for name, slot in self._up.items() if slot.worker == worker]

    def idle_workers(self, is_idle: Callable[[str], bool]) -> dict[str, bool]:
        """Return the workers with slots that are up, and whether all of each one's are idle."""
        idle: dict[str, bool] = {}
        for name, slot in self._up.items():
            idle[slot.worker] = idle.get(slot.worker, True) and is_idle(name)
        return idle
