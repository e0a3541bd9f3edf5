"""Devices are known by their UUIDs and by the cores near them, as far as anybody says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.devices import core_siblings, devices_here, locate, variable_here
from hpcflow.core.resources import Device
from hpcflow.testing.gpus import FakeGpu, install_nvml

CUDA, ROCR = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
FIRST, SECOND = (
    "GPU-0a11ab1e-0000-4000-8000-000000000000",
    "GPU-0b11ab1e-0000-4000-8000-000000000001",
)
GPUS = [FakeGpu(uuid=FIRST, pci=(0, 0x65, 0)), None, FakeGpu(uuid=SECOND, pci=(1, 0xC1, 2))]
ASK = """
import json, sys
from pathlib import Path
from hpcflow.batch.devices import devices_here, locate, variable_here
sysfs = Path(sys.argv[1])
devices = locate(sys.argv[3:], variable=sys.argv[2], sysfs=sysfs)
print(json.dumps({
    "here": [variable_here(sysfs=sysfs), devices_here(sysfs=sysfs)],
    "devices": [[each.name, each.uuid, sorted(each.near)] for each in devices],
}))
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    root = tmp_path / "sys"
    for address, cores in {"0000:65:00.0": "0-1,4", "0001:c1:02.0": "2-3\n"}.items():
        write(root / "bus/pci/devices" / address / "local_cpulist", cores)
    return root


def ask(
    environment: dict[str, str], sysfs: Path, *, variable: str, names: Sequence[str]
) -> dict[str, Any]:
    """Ask another Python: what it can import is its environment's business."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(sysfs), variable, *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_nvidias_gpus_are_known_by_number_by_uuid_and_by_how_that_begins(
    tmp_path: Path, sysfs: Path
) -> None:
    environment = install_nvml(tmp_path / "gpus.json", GPUS, os.environ)
    names = ["0", "2", SECOND, "GPU-0a", "GPU-0", "1", "7", "MIG-1"]
    answer = ask(environment, sysfs, variable=CUDA, names=names)
    assert answer["here"] == [CUDA, ["0", "1", "2"]]
    assert answer["devices"] == [
        ["0", FIRST, [0, 1, 4]],
        ["2", SECOND, [2, 3]],
        [SECOND, SECOND, [2, 3]],
        ["GPU-0a", FIRST, [0, 1, 4]],
        ["GPU-0", "GPU-0", []],
        ["1", "", []],
        ["7", "", []],
        ["MIG-1", "MIG-1", []],
    ]


def test_without_a_driver_or_without_the_library_devices_are_what_they_are_called(
    tmp_path: Path, sysfs: Path
) -> None:
    no_driver = install_nvml(tmp_path / "gpus.json", GPUS, os.environ)
    del no_driver["HPCFLOW_FAKE_NVML"]
    for environment in (no_driver, dict(os.environ)):
        answer = ask(environment, sysfs, variable=CUDA, names=["0", FIRST])
        assert answer["devices"] == [["0", "", []], [FIRST, FIRST, []]]
        assert answer["here"] == [CUDA, []]


def kfd_node(sysfs: Path, number: int, **facts: int) -> None:
    text = "".join(f"{key} {value}\n" for key, value in facts.items())
    write(sysfs / f"class/kfd/kfd/topology/nodes/{number}/properties", text)


def test_amds_gpus_are_numbered_as_the_kernel_lists_them(sysfs: Path) -> None:
    """Node 0 is the CPU; 10, a partition, comes after 9; a GPU that is not ours says nothing."""
    kfd_node(sysfs, 0, cpu_cores_count=64, simd_count=0, unique_id=0)
    kfd_node(sysfs, 9, simd_count=440, unique_id=0xABC, domain=0, location_id=0x6500)
    kfd_node(sysfs, 10, simd_count=440, unique_id=0xDEF, domain=1, location_id=1 << 28 | 0xC110)
    kfd_node(sysfs, 11, simd_count=440, unique_id=0, domain=2, location_id=0x100)
    (sysfs / "class/kfd/kfd/topology/nodes/12").mkdir()
    assert variable_here(sysfs=sysfs) == ROCR
    assert devices_here(sysfs=sysfs) == ["0", "1", "2"]
    first, second = "GPU-0000000000000abc", "GPU-0000000000000def"
    names = ["1", "gpu-0000000000000ABC", "2", "3"]
    assert locate(names, variable=ROCR, sysfs=sysfs) == [
        Device(name="1", uuid=second, near=frozenset({2, 3})),
        Device(name=names[1], uuid=first, near=frozenset({0, 1, 4})),
        Device(name="2"),
        Device(name="3"),
    ]


def test_partitions_of_one_amd_gpu_are_near_its_cores_and_have_no_id_of_their_own(
    sysfs: Path,
) -> None:
    """The kernel writes a partition's number into the place of the PCI function, or above all."""
    for number, place in {1: 0x6500, 2: 0x6501, 3: 1 << 28 | 0x6500}.items():
        kfd_node(sysfs, number, simd_count=80, unique_id=0xABC, domain=0, location_id=place)
    near = frozenset({0, 1, 4})
    assert locate(["0", "1", "2"], variable=ROCR, sysfs=sysfs) == [
        Device(name="0", near=near),
        Device(name="1", near=near),
        Device(name="2", near=near),
    ]


def test_a_runtime_of_which_nobody_tells_gives_names_alone(sysfs: Path) -> None:
    devices = locate(["0", "1.0"], variable="ZE_AFFINITY_MASK", sysfs=sysfs)
    assert [device.name for device in devices] == ["0", "1.0"]
    assert not any(device.near for device in devices)


def test_hyperthreads_are_what_the_kernel_says(tmp_path: Path) -> None:
    for core, siblings in {0: "0,2", 2: "0,2", 1: "1,3"}.items():
        write(tmp_path / f"devices/system/cpu/cpu{core}/topology/thread_siblings_list", siblings)
    assert core_siblings([0, 1, 2, 5], sysfs=tmp_path) == [(0, 2), (1, 3), (5,)]


def test_this_machines_cores_are_each_in_one_group() -> None:
    cores = sorted(os.sched_getaffinity(0))
    groups = core_siblings(cores)
    assert all(sum(core in group for group in groups) == 1 for core in cores)


def test_slurms_list_of_a_steps_gpus_is_used_where_no_variable_masks_them() -> None:
    told = {"SLURM_JOB_ID": "1", "SLURM_STEP_GPUS": "2,3"}
    allocation = read_allocation(told)
    assert (allocation.devices, allocation.device_variable) == (("2", "3"), None)
    masked = read_allocation({**told, CUDA: "0,1"})
    assert (masked.devices, masked.device_variable) == (("0", "1"), CUDA)
