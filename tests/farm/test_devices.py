"""No two slots are on one device, whatever names the device goes by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hpcflow import Farm
from hpcflow.core.event import SlotJoined
from hpcflow.core.resources import CPU
from hpcflow.farm.roster import Occupancy
from hpcflow.farm.versions import own_versions
from hpcflow.farm.wire import SlotInfo
from hpcflow.testing.gpus import FakeGpu, install_nvml
from tests.farm.site import Site

GPU_A, GPU_B = FakeGpu(uuid="GPU-aaaa"), FakeGpu(uuid="GPU-bbbb")


def info(name: str, *, device: str = "0", uuid: str = "", host: str = "n1") -> SlotInfo:
    return SlotInfo(
        name=name,
        host=host,
        worker="w",
        pid=1,
        device=device,
        cores=(0,),
        booted=0.0,
        preload_s=0.0,
        sharing=1,
        uuid=uuid,
        versions=own_versions(),
    )


@pytest.mark.parametrize(
    ("first", "second", "rivals"),
    [
        (info("a"), info("b"), True),
        (info("a"), info("b", host="n2"), False),
        (info("a"), info("b", device="1"), False),
        (info("a", uuid="A"), info("b", uuid="A", device="GPU-A"), True),
        (info("a", uuid="A"), info("b", uuid="B"), False),
        (info("a", uuid="A"), info("b"), True),
        (info("a"), info("b", uuid="B"), True),
        (info("a", device=CPU), info("b", device=CPU), False),
    ],
)
def test_two_slots_are_on_one_device_if_its_uuid_or_else_host_and_name_say_so(
    first: SlotInfo, second: SlotInfo, rivals: bool
) -> None:
    occupancy = Occupancy()
    occupancy.add(first)
    assert occupancy.rivals(second) == (["a"] if rivals else [])
    occupancy.remove(first)
    assert occupancy.rivals(second) == []


def test_a_journal_from_before_devices_had_uuids_is_read() -> None:
    event = SlotJoined(
        at=1.0,
        slot="a",
        host="h",
        worker="w",
        pid=1,
        device="0",
        cores=(0,),
        booted=0.0,
        preload_s=0.0,
    )
    line = msgspec.json.encode(event)
    assert b"uuid" not in line
    assert msgspec.json.decode(line, type=SlotJoined).uuid == ""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def shown(tmp_path: Path, name: str, *gpus: FakeGpu, mask: str) -> dict[str, str]:
    """Return what a worker must be told to see some GPUs, and to be shown some of them."""
    told = install_nvml(tmp_path / f"{name}.json", gpus, {"CUDA_VISIBLE_DEVICES": mask})
    path = os.environ.get("PYTHONPATH")
    return told if not path else {**told, "PYTHONPATH": f"{told['PYTHONPATH']}:{path}"}


def test_one_gpu_under_two_names_has_one_slot_and_the_other_is_refused_by_its_uuid(
    site: Site, tmp_path: Path
) -> None:
    first = shown(tmp_path, "a", GPU_A, GPU_B, mask="0")
    second = shown(tmp_path, "b", GPU_A, GPU_B, mask="GPU-aaaa")
    with (
        site.start("scheduler"),
        site.start("worker", "--name", "first", **first),
        site.start("worker", "--name", "second", **second),
    ):
        assert site.wait(slots=2).returncode == 0
        said = site.drive(HPCFLOW_SLOTS="gpu:2", HPCFLOW_TEST_WAIT_S="10")
    assert "is on device GPU-aaaa of" in said


def test_one_name_for_two_gpus_has_two_slots_and_their_uuids_are_in_the_status(
    site: Site, tmp_path: Path
) -> None:
    """As in two containers of one host, each of which counts its own from 0."""
    with (
        site.start("scheduler"),
        site.start("worker", "--name", "a", **shown(tmp_path, "a", GPU_A, mask="0")),
        site.start("worker", "--name", "b", **shown(tmp_path, "b", GPU_B, mask="0")),
    ):
        assert site.wait(slots=2).returncode == 0
        assert site.drive(HPCFLOW_SLOTS="gpu:2") == ""
        status = subprocess.run(
            [sys.executable, "-m", "hpcflow", "status", str(site.run.path), "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
    slots = {slot["slot"]: slot for slot in json.loads(status.stdout)["slots"]}
    assert {name: (slot["device"], slot["uuid"]) for name, slot in slots.items()} == {
        "a.0": ("0", "GPU-aaaa"),
        "b.0": ("0", "GPU-bbbb"),
    }


def test_devices_may_be_given_by_hand(site: Site, tmp_path: Path) -> None:
    told = shown(tmp_path, "a", GPU_A, GPU_B, mask="0,1")
    with site.start("scheduler"), site.start("worker", "--devices", "GPU-bbbb", **told):
        assert site.wait(slots=1).returncode == 0
        assert site.drive(HPCFLOW_SLOTS="gpu:1") == ""
    joined = [line for line in site.run.journal.read_text().splitlines() if "slot-joined" in line]
    assert len(joined) == 1
    assert "GPU-bbbb" in joined[0]


def test_native_threads_are_as_many_as_a_slot_has_cores() -> None:
    names = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")]
    with Farm(slots=1) as farm:
        (outcome,) = farm.map(lambda _: [os.environ[name] for name in names], [0])
    assert outcome.result() == [str(len(os.sched_getaffinity(0)))] * len(names)
