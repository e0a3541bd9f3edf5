"""Rendered batch scripts, word for word. A missing golden file fails; none is ever rewritten."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hpcflow.batch.machine import load_machine
from hpcflow.batch.request import Request
from hpcflow.batch.script import render, submission_of
from hpcflow.errors import RequestError
from tests.batch.asking import request

HERE = Path(__file__).parent
_DRIVER = Path("/gpfs/alpine/abc123/driver.py")
_EXPLICIT = msgspec.structs.replace(load_machine("summit"), explicit_placement=True)
_AT_HAND = load_machine("laptop")
_LAPTOP = msgspec.structs.replace(_AT_HAND, nodes=msgspec.structs.replace(_AT_HAND.nodes, cores=4))

CASES: dict[str, Request] = {
    "summit-1500.sh": request(driver=_DRIVER, nodes=1500, walltime_s=12 * 3600),
    "summit-1.sh": request(driver=_DRIVER, nodes=1, queue_name="killable"),
    "summit-2-worker-per-slot.sh": request(driver=_DRIVER, nodes=2, worker_per="slot"),
    "summit-2-slots-per-device.sh": request(driver=_DRIVER, nodes=2, slots_per_device=2),
    "summit-1500-two-shards.sh": request(
        driver=_DRIVER, nodes=1500, walltime_s=12 * 3600, shards=2
    ),
    "summit-1500-four-shards.sh": request(
        driver=_DRIVER, nodes=1500, walltime_s=12 * 3600, shards=4
    ),
    "summit-2-cpu-slots.sh": request(driver=_DRIVER, nodes=2, cpu_slots=8),
    "summit-3-explicit-three-shards.sh": replace(
        request(driver=_DRIVER, nodes=3, shards=3), machine=_EXPLICIT
    ),
    "frontier-7-two-shards-cpu-slots.sh": request(
        "frontier", driver=_DRIVER, nodes=7, shards=2, cpu_slots=4
    ),
    "andes-64-two-shards.sh": request("andes", driver=_DRIVER, nodes=64, shards=2),
    "summit-3-explicit.sh": replace(
        request(driver=_DRIVER, nodes=3, worker_per="slot"), machine=_EXPLICIT
    ),
    "andes-64.sh": request("andes", driver=_DRIVER, nodes=64, walltime_s=36 * 3600),
    "andes-2-shared-head.sh": request("andes", driver=_DRIVER, nodes=2, scheduler_cores=3),
    "frontier-128.sh": request(
        "frontier", driver=_DRIVER, nodes=128, arguments=("--name", "it's $HOME `x` \\ é", "")
    ),
    "perlmutter-16.sh": request(
        "perlmutter",
        driver=Path("/pscratch/my runs/run.toml"),
        nodes=16,
        arguments=("--reuse-changed",),
        walltime_s=9001,
    ),
    "test-slurm-4.sh": request("test-slurm", driver=_DRIVER, nodes=4, account=None),
    "test-slurm-2-follow-ups.sh": request(
        "test-slurm", driver=_DRIVER, nodes=2, account=None, follow_ups=3
    ),
    "laptop.sh": replace(request(driver=_DRIVER, account=None), machine=_LAPTOP),
}


@pytest.mark.parametrize("name", CASES)
def test_the_script_is_the_golden_one(name: str) -> None:
    golden = HERE / name
    assert golden.exists(), f"there is no {golden}: write it by hand, after reading what it holds"
    assert render(CASES[name]) == golden.read_text()


def test_every_golden_script_belongs_to_a_case() -> None:
    assert sorted(path.name for path in HERE.glob("*.sh")) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_bash_and_shellcheck_find_nothing_wrong(name: str) -> None:
    script = render(CASES[name])
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    found = subprocess.run(
        [_shellcheck(), "--exclude=SC2016", "-"],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )
    assert found.stdout == ""


def _shellcheck() -> str:
    beside = Path(sys.executable).parent
    found = shutil.which("shellcheck", path=f"{beside}:{os.environ['PATH']}")
    assert found is not None, "it comes with the extra `test`"
    return found


def test_summit_serves_9000_slots_on_1500_nodes() -> None:
    script = render(CASES["summit-1500.sh"])
    assert "#BSUB -nnodes 1500\n" in script
    assert 'hpcflow wait --run "$HPCFLOW_RUN" --slots 9000 ' in script
    per_step = re.findall(r"--nrs (\d+) .* --gpu_per_rs 6 ", script)
    assert 6 * sum(map(int, per_step)) == 9000


@pytest.mark.parametrize(("shards", "each"), [(2, 4500), (4, 2250)])
def test_each_shard_of_summit_serves_its_share_of_the_9000_slots(shards: int, each: int) -> None:
    words = {2: "two", 4: "four"}
    script = render(CASES[f"summit-1500-{words[shards]}-shards.sh"])
    explained = f"# in {shards} shards, each with a scheduler of its own: {each:,} slots each\n"
    assert explained in script
    assert f"--slots 9000 --shards {shards} " in script
    served = dict.fromkeys(range(1, shards + 1), 0)
    for nodes, shard in re.findall(
        r"--nrs (\d+) .* --gpu_per_rs 6 .*\n    hpcflow worker .* --shard (\d)", script
    ):
        served[int(shard)] += 6 * int(nodes)
    assert set(served.values()) == {each}
    schedulers = re.findall(r"--cpu_per_rs (\d+) .*\n    hpcflow scheduler", script)
    assert sum(map(int, schedulers)) == 20
    assert len(schedulers) == shards


def test_andes_serves_2016_cpu_slots_beside_31_cores_for_the_scheduler_and_1_for_the_driver() -> (
    None
):
    script = render(CASES["andes-64.sh"])
    assert "# (32 cores of the first are for scheduler and driver)\n" in script
    assert "--slots 2016 " in script
    assert (
        "srun --overlap --no-kill --nodes=63 --ntasks=63 --ntasks-per-node=1 --relative=1 "
        in script
    )


def test_an_argument_reaches_the_driver_as_it_was_given() -> None:
    asked = CASES["frontier-128.sh"]
    last = render(asked).splitlines()[-1]
    assert shlex.split(last) == ["python", str(_DRIVER), *asked.arguments]


def test_a_path_with_a_quote_stays_one_word() -> None:
    odd = Path("/a'b; rm -rf $HOME/d.py")
    lines = render(request("frontier", driver=odd, directory=odd.parent)).splitlines()
    assert shlex.split(lines[-1]) == ["python", str(odd)]
    changed = next(line for line in lines if line.startswith("cd "))
    assert shlex.split(changed)[:3] == ["cd", "--", str(odd.parent)]


def test_the_script_says_how_to_submit_it_by_hand() -> None:
    for name, program in (
        ("summit-1.sh", "bsub"),
        ("andes-64.sh", "sbatch"),
        ("laptop.sh", "bash"),
    ):
        command = f"{program} /gpfs/alpine/abc123/runs/replicas/batch.sh"
        assert submission_of(CASES[name]) == command
        assert f"#   {command}\n" in render(CASES[name])


def test_jsrun_gives_a_gpu_to_one_worker_alone() -> None:
    with pytest.raises(RequestError, match="a GPU belongs to one resource set"):
        render(request(nodes=2, worker_per="slot", slots_per_device=2))


def test_without_a_step_launcher_one_worker_serves_all() -> None:
    with pytest.raises(RequestError, match="without a step launcher one worker serves all"):
        render(replace(CASES["laptop.sh"], worker_per="slot"))
