"""What a node's devices are: their UUIDs, and the cores near them.

NVIDIA's are asked of NVML (the package `nvidia-ml-py`, extra `nvidia`, and the driver), AMD's of
the kernel. Where neither answers, a device is what the launcher calls it and no more.

Sources: nvidia-ml-py's functions of the NVML API; the kernel's `amdkfd` topology in
/sys/class/kfd (unique_id, domain, location_id), by the order in which ROCr numbers GPUs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from hpcflow.core.resources import CUDA_DEVICES, Device

ROCR_DEVICES = "ROCR_VISIBLE_DEVICES"
SYSFS = Path("/sys")
_AMD = (ROCR_DEVICES, "HIP_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A GPU of this node, in the order in which its runtime numbers them."""

    uuid: str
    """Empty if unknown."""
    pci: str
    """Address on the PCI bus, such as `0000:65:00.0`; empty if unknown."""


def variable_here(*, sysfs: Path = SYSFS) -> str:
    """Return the variable that names a process's devices on a node whose launcher says nothing."""
    return ROCR_DEVICES if _amd_gpus(sysfs) and not _nvidia_gpus() else CUDA_DEVICES


def devices_here(*, sysfs: Path = SYSFS) -> list[str]:
    """Return the names of all GPUs of this node, for a launcher that says nothing of them."""
    count = len(_nvidia_gpus() or _amd_gpus(sysfs))
    return [str(number) for number in range(count)]


def locate(names: Sequence[str], *, variable: str, sysfs: Path = SYSFS) -> list[Device]:
    """Return devices with their UUIDs and the cores near them, as far as they are known.

    Parameters
    ----------
    names
        As they stand in the variable: positions, or UUIDs or how these begin.
    variable
        The variable, such as `CUDA_VISIBLE_DEVICES`.
    sysfs
        Where the kernel tells of devices.
    """
    found: list[Found] = []
    if variable == CUDA_DEVICES:
        found = _nvidia_gpus()
    elif variable in _AMD:
        found = _amd_gpus(sysfs)
    return [_locate(name, found, sysfs) for name in names]


def core_siblings(cores: Iterable[int], *, sysfs: Path = SYSFS) -> list[tuple[int, ...]]:
    """Return the groups of logical cores that are hyperthreads of one, as far as they are known."""
    groups = set()
    for core in cores:
        near = sysfs / f"devices/system/cpu/cpu{core}/topology/thread_siblings_list"
        groups.add(tuple(sorted(_read_cores(near))) or (core,))
    return sorted(groups)


def _locate(name: str, found: Sequence[Found], sysfs: Path) -> Device:
    if name.isdecimal():
        matches = found[int(name) : int(name) + 1]
    else:
        matches = [gpu for gpu in found if name and gpu.uuid.lower().startswith(name.lower())]
    if len(matches) != 1:  # a part of a GPU (MIG) is named by a UUID of its own
        return Device(name=name, uuid="" if name.isdecimal() else name)
    gpu = matches[0]
    near = _read_cores(sysfs / "bus/pci/devices" / gpu.pci / "local_cpulist") if gpu.pci else ()
    return Device(name=name, uuid=gpu.uuid, near=frozenset(near))


def _nvidia_gpus() -> list[Found]:
    """Return NVIDIA's GPUs that this process may use; none without library, driver or GPU."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_nvidia_gpu(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _nvidia_gpu(nvml: ModuleType, number: int) -> Found:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        pci = nvml.nvmlDeviceGetPciInfo(handle)
        address = f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"
        return Found(uuid=str(nvml.nvmlDeviceGetUUID(handle)), pci=address)
    except nvml.NVMLError:  # it has fallen off the bus, say: the others keep their numbers
        return Found(uuid="", pci="")


def _amd_gpus(sysfs: Path) -> list[Found]:
    """Return AMD's GPUs that this process may use."""
    nodes = sysfs / "class/kfd/kfd/topology/nodes"
    try:
        numbered = sorted(nodes.iterdir(), key=lambda node: int(node.name))
    except (OSError, ValueError):
        return []
    found = [gpu for node in numbered for gpu in _amd_gpu(node)]
    times = Counter(gpu.uuid for gpu in found)
    # The partitions of one GPU may have one id: then it tells none of them from the others.
    return [gpu if times[gpu.uuid] == 1 else replace(gpu, uuid="") for gpu in found]


def _amd_gpu(node: Path) -> Iterator[Found]:
    try:
        lines = (node / "properties").read_text().splitlines()
    except OSError:  # it is not ours: the kernel lets nobody else read it
        return
    facts = {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}
    if not facts.get("simd_count"):
        return  # a CPU
    unique, place = facts.get("unique_id", 0), facts.get("location_id", 0)
    # A GPU is function 0; a partition's number stands in these bits, or above the bus.
    address = f"{facts.get('domain', 0):04x}:{place >> 8 & 255:02x}:{place >> 3 & 31:02x}.0"
    yield Found(uuid=f"GPU-{unique:016x}" if unique else "", pci=address)


def _read_cores(path: Path) -> list[int]:
    """Return the cores of a list of the kernel's such as `0-3,8`; none if there is no such file."""
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    cores: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return cores
