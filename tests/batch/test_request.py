"""What a machine cannot give is refused before anything is submitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpcflow.batch.allocation import read_allocation
from hpcflow.batch.layout import layout_of
from hpcflow.batch.machine import MACHINES, load_machine
from hpcflow.errors import RequestError
from tests.batch.asking import request


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 45, "walltime_s": 7201}, "cannot ask for 2h1s on 45 nodes in queue batch"),
        ({"nodes": 46, "walltime_s": 6 * 3600 + 1}, "it gives 6h at most to jobs of up to 91"),
        ({"nodes": 4609}, "cannot ask for 4609 nodes of summit: it has 4608. Ask for 1 to 4608."),
        ({"nodes": 0}, "cannot ask for 0 nodes of summit"),
        ({"nodes": -1}, "cannot ask for -1 nodes of summit"),
        ({"walltime_s": 0}, "cannot ask for"),
        ({"driver": Path("/none/driver.py")}, "'/none/driver.py': there is no such file"),
        ({"driver": Path("/bin/sh")}, "neither a Python driver (.py) nor"),
        ({"account": None}, "cannot submit to summit without an account"),
        ({"account": "abc\n123"}, "character 4 is a control character (U+000A)"),
        ({"account": "abc 123"}, "batch systems take letters, digits"),
        ({"account": "-abc"}, "no dash at the beginning"),
        ({"name": "a\x85b"}, "character 2 is a control character"),
        ({"name": "a\u2028b"}, "character 2 is a line separator (U+2028)"),
        ({"name": "a\u2029b"}, "character 2 is a paragraph separator"),
        ({"name": "a\u202eb"}, "character 2 is an invisible character"),
        ({"queue_name": "batsh"}, "cannot use queue 'batsh' on summit"),
        ({"queue_name": "batch\n"}, "character 6 is a control character"),
        ({"arguments": ("fine", "a\rb")}, "an argument of the driver: character 2"),
        ({"arguments": ("\udcff",)}, "is a byte that is no text"),
        ({"run": Path("/r/100%")}, "batch systems give '%' in a path a meaning"),
        ({"run": Path("/r/a b")}, "batch systems give ' ' in a path a meaning"),
        ({"directory": Path("/a\nb")}, "cannot use '/a\\nb' as a path"),
        ({"slots_per_device": 0}, "cannot place 0 slots on each GPU"),
        ({"slots_per_device": 8}, "cannot place 48 slots on a node of summit"),
        ({"scheduler_cores": 41, "driver_cores": 2}, "a node of summit has 42"),
        ({"scheduler_cores": -1}, "cannot give -1 cores to the scheduler"),
        ({"scheduler_cores": 36}, "cannot place 6 slots on a node of summit with 4 cores"),
        ({"scheduler_cores": 40}, "cannot serve any slot on 1 node of summit"),
        ({"shards": 0}, "cannot share 1 nodes among 0 shards: each has at least 1 node"),
        ({"shards": -2}, "cannot share 1 nodes among -2 shards"),
        ({"nodes": 3, "shards": 4}, "Ask for 1 to 3 shards."),
        ({"nodes": 2, "shards": 2, "scheduler_cores": 40}, "and a shard would have no slot"),
        ({"cpu_slots": -1}, "cannot place -1 CPU slots next to the GPU slots"),
        ({"cpu_slots": 25}, "cannot place 31 slots on a node of summit with 30 cores"),
        ({"cpu_slots": 1, "worker_per": "slot"}, "one worker of a node serves both"),
    ],
)
def test_what_cannot_be_is_one_clear_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as error:
        request(**changes).check()
    assert message in str(error.value)
    assert str(error.value).startswith("cannot ")
    assert "\n" not in str(error.value)


def test_slots_on_a_gpu_need_gpus() -> None:
    with pytest.raises(RequestError, match="it has 0 GPUs a node"):
        request("andes", nodes=2, slots_per_device=2).check()


def test_cpu_slots_are_asked_for_next_to_gpus_alone() -> None:
    with pytest.raises(RequestError, match=r"it has 0 GPUs\. Leave --cpu-slots at 0"):
        request("andes", nodes=2, cpu_slots=2).check()


def test_a_queue_that_takes_only_small_jobs_says_so() -> None:
    with pytest.raises(RequestError, match=r"it gives 384 at most\. Ask for fewer"):
        request("andes", nodes=385).check()


@pytest.mark.parametrize(
    ("machine", "changes", "slots", "first"),
    [
        ("summit", {"nodes": 1500}, 9000, 6),
        ("summit", {"nodes": 2, "slots_per_device": 4}, 48, 24),
        ("summit", {"nodes": 3, "scheduler_cores": 40}, 12, 0),
        ("andes", {"nodes": 64}, 2016, 0),
        ("andes", {"nodes": 64, "scheduler_cores": 3}, 2044, 28),
        ("frontier", {"nodes": 9472}, 75_776, 8),
        ("perlmutter", {"nodes": 16}, 64, 4),
        ("test-slurm", {"nodes": 4}, 8, 2),
        ("test-slurm", {"nodes": 4, "cpu_slots": 3}, 20, 5),
    ],
)
def test_the_slots_of_an_allocation_are_counted(
    machine: str, changes: dict[str, Any], slots: int, first: int
) -> None:
    asked = request(machine, **changes)
    asked.check()
    layout = layout_of(asked)
    assert (layout.slots.total, layout.first_slots.total) == (slots, first)


def test_large_allocations_give_the_scheduler_more_cores() -> None:
    assert layout_of(request(nodes=999)).scheduler_cores == 10
    assert layout_of(request(nodes=1000)).scheduler_cores == 20


def test_the_account_of_the_machine_is_charged_where_none_is_named() -> None:
    machine = msgspec.structs.replace(load_machine("summit"), account="site1")
    assert replace(request(), machine=machine).charged == "abc123"
    assert replace(request(account=None), machine=machine).charged == "site1"


@pytest.mark.parametrize(
    ("machine", "changes", "shares"),
    [
        ("summit", {"nodes": 1500, "shards": 2}, [(0, 750, 4500), (750, 750, 4500)]),
        ("summit", {"nodes": 3, "shards": 2}, [(0, 1, 6), (1, 2, 12)]),
        ("andes", {"nodes": 4, "shards": 2}, [(0, 2, 32), (2, 2, 64)]),
        ("test-slurm", {"nodes": 4, "shards": 1}, [(0, 4, 8)]),
    ],
)
def test_shards_are_neighbouring_nodes_and_their_slots_are_those_of_the_allocation(
    machine: str, changes: dict[str, Any], shares: list[tuple[int, int, int]]
) -> None:
    layout = layout_of(request(machine, **changes))
    found = list(layout.shares())
    assert [(each.first_node, each.nodes, each.slots) for each in found] == shares
    assert sum(each.slots for each in found) == layout.slots.total
    alone = layout_of(request(machine, **(changes | {"shards": 1})))
    assert alone.slots == layout.slots


def test_with_jsrun_each_scheduler_and_the_driver_have_a_core_at_least() -> None:
    asked: dict[str, Any] = {"nodes": 4, "shards": 4, "scheduler_cores": 0, "driver_cores": 0}
    layout = layout_of(request(**asked))
    assert (layout.scheduler_cores, layout.cores_of_scheduler, layout.driver_cores) == (4, 1, 1)
    assert layout_of(request("frontier", **asked)).head_cores == 0


def test_the_pools_are_written_as_the_driver_reads_them() -> None:
    layout = layout_of(request(nodes=2, cpu_slots=8))
    assert str(layout.slots) == "gpu:12,cpu:16"
    assert read_allocation({"HPCFLOW_SLOTS": str(layout.slots)}).slots == {"gpu": 12, "cpu": 16}
    assert str(layout_of(request("andes", nodes=64)).slots) == "cpu:2016"


@pytest.mark.parametrize("system", ["pbs", "sge"])
def test_a_batch_system_that_has_no_batch_scripts_takes_elastic_farms_alone(
    system: str, tmp_path: Path
) -> None:
    path = tmp_path / "polaris.toml"
    path.write_text(
        (MACHINES / "andes.toml")
        .read_text()
        .replace('"slurm"', f'"{system}"')
        .replace('"srun"', '"direct"')
    )
    with pytest.raises(RequestError, match=f"its batch system is {system}, .* Use Farm.elastic"):
        request(machine=str(path)).check()
