"""`hpcflow submit` and its kin on a real Slurm of four virtual nodes with two fake GPUs each."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from hpcflow.batch.machine import MACHINES
from hpcflow.core.event import SessionOpened, SlotJoined
from hpcflow.journal.directory import RunDirectory
from tests.slurm.jobs import Job, call, hpcflow, submit

REPOSITORY = Path(__file__).parents[2]

SEES_DEVICE = """
import os, time
from hpcflow import Farm, current_task

def see(number):
    time.sleep(0.5)
    return [current_task().device, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SLURMD_NODENAME"]]

with Farm() as farm:
    farm.wait_for_slots()
    print(len(list(farm.map(see, range(24)))), "tasks")
"""

WAITS_HALF_WAY = """
import sys, time
from pathlib import Path
from hpcflow import Farm, current_task

notes, gate = map(Path, sys.argv[1:])

def work(number):
    with notes.open("a") as file:
        file.write(current_task().key + "\\n")
    while number >= 10 and not gate.exists():
        time.sleep(0.05)
    return number * number

with Farm() as farm:
    for outcome in farm.map(work, range(20), key=str):
        outcome.result()
"""

FAILS = """
import sys
from hpcflow import Farm

with Farm() as farm:
    print("sum", sum(outcome.result() for outcome in farm.map(abs, range(-4, 1))), flush=True)
print("cannot go on", file=sys.stderr)
sys.exit(7)
"""

SLEEPS = """
import time
from hpcflow import Farm

with Farm() as farm:
    list(farm.map(time.sleep, [600, 600]))
"""

OUTLIVES_ITS_FARM = """
import sys, time
from pathlib import Path
from hpcflow import Farm
from hpcflow.errors import FarmError

gate = Path(sys.argv[1])
try:
    with Farm() as farm:
        list(farm.map(time.sleep, [600, 600]))
except FarmError as error:
    print("told:", error, flush=True)
while not gate.exists():
    time.sleep(0.05)
"""


def driver(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "driver.py"
    path.write_text(text)
    return path


def places(job: Job) -> list[tuple[str, str]]:
    return [(event.host, event.device) for event in job.events() if isinstance(event, SlotJoined)]


@pytest.mark.parametrize(("nodes", "worker_per"), [(4, "node"), (2, "slot")])
def test_every_slot_has_a_gpu_of_its_own(nodes: int, worker_per: str, tmp_path: Path) -> None:
    path = driver(tmp_path, SEES_DEVICE)
    job = submit(path, tmp_path / "run", "--worker-per", worker_per, nodes=nodes)
    job.assert_succeeded()
    expected = {(f"node{n + 1}", device) for n in range(nodes) for device in "01"}
    assert Counter(places(job)) == Counter(expected)
    joined = [event for event in job.events() if isinstance(event, SlotJoined)]
    assert len({event.worker for event in joined}) == nodes * (1 if worker_per == "node" else 2)
    outcomes = [value for _, value in job.values()]
    assert len(outcomes) == 24
    seen = {tuple(value) for value in outcomes if isinstance(value, list)}
    assert seen == {(device, device, node) for node, device in expected}
    assert hpcflow("verify", tmp_path / "run").returncode == 0
