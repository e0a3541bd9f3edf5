"""`hpcflow submit` and its kin on a real Slurm of four virtual nodes with two fake GPUs each."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from hpcflow.batch.machine import MACHINES
from hpcflow.core.event import SessionOpened, SlotJoined, SlotLost
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.verify import verify
from tests.slurm.jobs import Job, call, hpcflow, submit

REPOSITORY = Path(__file__).parents[2]

SEES_DEVICE = """
import os, time
from hpcflow import Farm, current_task

def see(number):
    time.sleep(0.5)
    seen = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SLURMD_NODENAME"]
    return [current_task().device, *seen]

with Farm() as farm:
    farm.wait_for_slots()
    print(len(list(farm.map(see, range(24)))), "tasks")
"""

FILLS_POOLS = """
import os, time
from hpcflow import Farm

def see(number):
    time.sleep(0.2)
    return os.environ["CUDA_VISIBLE_DEVICES"]

with Farm() as farm:
    farm.wait_for_slots()
    for pool in ("gpu", "cpu"):
        list(farm.map(see, range(8), stage=pool, key=lambda n: f"{pool}{n}", pool=pool))
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
    assert_status_shows(job, nodes=nodes)


def assert_status_shows(job: Job, *, nodes: int) -> None:
    """Hold what `hpcflow status` says to the batch job, and to each slot's place."""
    shown = hpcflow("status", job.run.path).stdout
    said = f"{job.id} on test-slurm: succeeded; {nodes} nodes, {2 * nodes} slots for 5 min 00 s"
    assert said in shown
    rows = [line.split()[1:4] for line in shown.splitlines() if " gpu " in line]
    assert sorted(rows) == sorted([host, "gpu", device] for host, device in places(job))
    told = json.loads(hpcflow("status", job.run.path, "--json").stdout)
    assert (told["batch_job"]["id"], told["batch_job"]["state"]) == (job.id, "succeeded")
    assert {slot["pool"] for slot in told["slots"]} == {"gpu"}


def test_two_shards_serve_the_slots_of_their_own_nodes(tmp_path: Path) -> None:
    job = submit(driver(tmp_path, SEES_DEVICE), tmp_path / "run", "--shards", "2", nodes=4)
    job.until(lambda: len(places(job)) == 8)
    files = [job.run.scheduler_file(shard) for shard in (1, 2)]
    addresses = {json.loads(file.read_bytes())["address"] for file in files}
    steps = {job.run.logs / f"step-{name}.log" for name in ("workers", "workers-2")}
    job.assert_succeeded()
    assert Counter(places(job)) == Counter((f"node{n}", d) for n in range(1, 5) for d in "01")
    assert len(addresses) == 2
    assert all(sum(address in log.read_text() for log in steps) == 1 for address in addresses)
    assert not job.run.scheduler_file(2).exists()


def test_the_loss_of_a_shards_scheduler_loses_only_its_slots(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    job = submit(path, run, "--shards", "2", "--", notes, gate, nodes=4)
    job.until(lambda: len(list(job.values())) == 10 and len(places(job)) == 8)
    os.kill(json.loads(job.run.scheduler_file(2).read_bytes())["pid"], signal.SIGKILL)
    job.until(lambda: sum(isinstance(event, SlotLost) for event in job.events()) == 4)
    gate.touch()
    assert job.wait() == "COMPLETED", job.logs()
    lost = {event.slot for event in job.events() if isinstance(event, SlotLost)}
    assert lost == {f"node{node}.{slot}" for node in (3, 4) for slot in (0, 1)}
    assert dict(job.values()) == {str(n): n * n for n in range(20)}


def test_a_shard_whose_workers_cannot_start_costs_its_slots_alone(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), RunDirectory(tmp_path / "run")
    options = ("--machine", "test-slurm", "--walltime", "5m", "--run", run.path, "--nodes", "4")
    gate = tmp_path / "gate"
    gate.touch()
    arguments = ("--shards", "2", "--dry-run", "--", tmp_path / "notes", gate)
    script = hpcflow("submit", path, *options, *arguments).stdout
    broken = script.replace("--shard 2 --worker-per node", "--shard 2 --worker-per nobody")
    assert broken != script
    run.create()
    run.lock.touch()
    (run.path / "batch.sh").write_text(broken)
    answer = call("sbatch", "--parsable", str(run.path / "batch.sh"))
    job = Job(answer.stdout.strip(), run)
    job.assert_succeeded()
    assert {host for host, _ in places(job)} <= {"node1", "node2"}
    log = (run.logs / f"batch-{job.id}.log").read_text()
    assert "going on without 4 slots: step workers-2 has ended with code" in log
    assert "'nobody' is not one of 'node', 'slot'" in log


def test_a_scheduler_that_cannot_start_ends_the_job_with_its_words(tmp_path: Path) -> None:
    machine = tmp_path / "mistaken.toml"
    text = (MACHINES / "test-slurm.toml").read_text()
    machine.write_text(text.replace('interface = "lo"', 'interface = "ib9"'))
    path, run = driver(tmp_path, SLEEPS), tmp_path / "run"
    job = submit(path, run, "--machine", machine)
    assert job.wait() == "FAILED"
    assert job.described["ExitCode"] == "1:0"
    log = (run / "logs" / f"batch-{job.id}.log").read_text()
    assert re.search("step (scheduler|workers) has ended with code 2", log)
    assert "cannot listen on interface 'ib9'" in log


def test_cpu_slots_stand_next_to_gpu_slots_as_a_pool_of_their_own(tmp_path: Path) -> None:
    path = driver(tmp_path, FILLS_POOLS)
    job = submit(path, tmp_path / "run", "--cpu-slots", "2", nodes=2)
    job.assert_succeeded()
    nodes = [f"node{n}" for n in (1, 2)]
    expected = [(node, device) for node in nodes for device in ("0", "1", "cpu", "cpu")]
    assert Counter(places(job)) == Counter(expected)
    outcomes = dict(job.values())
    assert {outcomes[f"gpu{n}"] for n in range(8)} == {"0", "1"}
    assert {outcomes[f"cpu{n}"] for n in range(8)} == {"-1"}


@pytest.mark.parametrize(
    "example",
    [
        "examples/static_fan_out.py",
        "examples/steady_state.py",
        "examples/preloaded_model.py",
        "configs/runs/primes.toml",
    ],
)
def test_what_ran_on_a_laptop_runs_on_slurm(example: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("--", run) if example.endswith(".py") else ()
    job = submit(REPOSITORY / example, run, *arguments, nodes=4)
    job.assert_succeeded()
    assert_devices_of_their_own(job)
    assert hpcflow("verify", run).returncode == 0


def test_an_ensemble_of_openmm_runs_on_slurm(tmp_path: Path) -> None:
    """Alanine dipeptide as in configs/runs, but for its length."""
    text = (REPOSITORY / "configs/runs/alanine.toml").read_text()
    for there, here in (
        ("replicas = 32", "replicas = 16"),
        ("number = 5", "number = 2"),
        ("length_ps = 128", "length_ps = 2"),
        ("equilibration_ps = 10 ", "equilibration_ps = 1 "),
    ):
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "alanine.toml").write_text(text)
    shutil.copy(REPOSITORY / "configs/runs/alanine-dipeptide.pdb", tmp_path)
    run = tmp_path / "run"
    job = submit(tmp_path / "alanine.toml", run, nodes=4)
    job.assert_succeeded()
    assert_devices_of_their_own(job)
    assert len(places(job)) == 8
    assert verify(job.run).succeeded == 32
    assert (run / "report.html").exists()
    assert hpcflow("verify", run).returncode == 0


def assert_devices_of_their_own(job: Job) -> None:
    """Hold the slots to the eight devices of the four nodes: each has one that no other has."""
    (opened,) = (event for event in job.events() if isinstance(event, SessionOpened))
    assert opened.slots == 8
    seen = Counter(places(job))
    assert set(seen) <= {(f"node{n}", device) for n in range(1, 5) for device in "01"}
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("again", ["submit", "resume"])
def test_a_cancelled_run_is_continued_by_the_next_batch_job(again: str, tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    first = submit(path, run, "--", notes, gate, nodes=2)
    first.until(lambda: len(list(first.values())) == 10)
    assert call("scancel", first.id).returncode == 0
    assert first.wait() == "CANCELLED"
    assert list(first.run.security.iterdir()) == []
    gate.touch()
    if again == "submit":
        second = submit(path, run, "--", notes, gate, nodes=2)
    else:
        answer = hpcflow("resume", run)
        assert answer.returncode == 0, answer.stderr
        second = Job(answer.stdout.strip(), RunDirectory(run))
    second.assert_succeeded()
    assert second.id != first.id
    assert dict(second.values()) == {str(n): n * n for n in range(20)}
    started = Counter(notes.read_text().split())
    assert all(started[str(n)] == 1 for n in range(10)), started
    assert sum(isinstance(event, SessionOpened) for event in second.events()) == 2
    assert hpcflow("verify", run).returncode == 0
    assert "nothing to resume" in hpcflow("resume", run).stdout


def test_nobody_else_can_read_what_slurm_writes_into_a_directory_that_was_there(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o755)
    job = submit(driver(tmp_path, FAILS), run)
    job.wait()
    assert (run / "logs" / f"batch-{job.id}.log").exists()
    assert run.stat().st_mode & 0o077 == 0


def test_the_exit_code_of_the_driver_is_that_of_the_job(tmp_path: Path) -> None:
    job = submit(driver(tmp_path, FAILS), tmp_path / "run")
    assert job.wait() == "FAILED"
    assert job.described["ExitCode"] == "7:0"
    shown = hpcflow("logs", tmp_path / "run").stdout
    assert "sum 10" in shown
    assert "cannot go on" in shown
    assert list(job.run.security.iterdir()) == []


def test_a_live_job_is_cancelled_once(tmp_path: Path) -> None:
    path, run = driver(tmp_path, SLEEPS), tmp_path / "run"
    job = submit(path, run)
    job.until(lambda: len(places(job)) == 2)
    again = hpcflow("submit", path, "--machine", "test-slurm", "--walltime", "5m", "--run", run)
    assert again.returncode != 0
    assert f"its batch job {job.id} is running" in again.stderr
    assert hpcflow("cancel", run).stdout == f"batch job {job.id}, which was running, is cancelled\n"
    assert job.wait() == "CANCELLED"
    assert hpcflow("cancel", run).stdout == f"batch job {job.id} is over: cancelled\n"


def test_the_scheduler_of_an_earlier_job_is_not_used(tmp_path: Path) -> None:
    """The script is edited so that the stale file lies there long after the workers look."""
    run = RunDirectory(tmp_path / "run")
    path = REPOSITORY / "examples" / "static_fan_out.py"
    options = ("--machine", "test-slurm", "--walltime", "5m", "--run", run.path)
    script = hpcflow("submit", path, *options, "--dry-run", "--", run.path).stdout
    late = script.replace(
        "hpcflow scheduler", """bash -c 'sleep 4; exec hpcflow scheduler "$@"' -"""
    ).replace('rm -f "$HPCFLOW_RUN"/scheduler*.json', ":")
    assert late.count("sleep 4") == late.count("\n: #") == 1
    run.create()
    run.scheduler_file().write_text('{"address": "tls://127.0.0.1:9", "pid": 1, "job": "999999"}')
    (run.path / "batch.sh").write_text(late)
    answer = call("sbatch", "--parsable", str(run.path / "batch.sh"))
    job = Job(answer.stdout.strip(), run)
    job.until(lambda: job.processes("hpcflow worker"))
    assert json.loads(run.scheduler_file().read_bytes())["job"] == "999999"
    job.assert_succeeded()
    assert "127.0.0.1:9" not in job.logs()


@pytest.mark.parametrize(
    ("nodes", "queue", "words"),
    [
        (6, "batch", "Node count specification invalid"),
        (1, "debug", "Requested time limit is invalid"),
    ],
)
def test_a_rejected_submission_leaves_no_job(
    nodes: int, queue: str, words: str, tmp_path: Path
) -> None:
    """The machine's file promises more than Slurm gives."""
    machine = tmp_path / "generous.toml"
    text = (MACHINES / "test-slurm.toml").read_text()
    text = text.replace("count = 4", "count = 6").replace("nodes = 4, ", "nodes = 6, ")
    machine.write_text(text.replace('walltime = "5m"', 'walltime = "1h"'))
    path, run = driver(tmp_path, SLEEPS), tmp_path / "run"
    options = ("--walltime", "10m", "--nodes", str(nodes), "--queue", queue, "--run", run)
    before = call("squeue", "--noheader", "--states=all").stdout
    answer = hpcflow("submit", path, "--machine", machine, *options)
    assert answer.returncode != 0
    assert answer.stdout == ""
    assert words in answer.stderr
    assert not (run / "job.toml").exists()
    assert call("squeue", "--noheader", "--states=all").stdout == before
    assert "job.toml" in hpcflow("cancel", run).stderr


def test_workers_end_by_themselves_when_their_scheduler_is_gone(tmp_path: Path) -> None:
    """The driver stays, so that the script has not begun to end anything."""
    gate = tmp_path / "gate"
    path = driver(tmp_path, OUTLIVES_ITS_FARM)
    job = submit(path, tmp_path / "run", "--", gate, nodes=2)
    job.until(lambda: len(places(job)) == 4)
    workers = job.processes("hpcflow worker")
    started = {*workers, *(child for each in workers for child in each.children(recursive=True))}
    assert len(started) > len(workers)
    os.kill(json.loads(job.run.scheduler_file().read_bytes())["pid"], signal.SIGKILL)
    job.until(lambda: started.isdisjoint(job.processes()))
    assert job.processes(str(path))
    job.until(lambda: "the batch job's scheduler is gone" in job.logs())
    gate.touch()
    assert job.wait() == "COMPLETED"


def test_the_loss_of_a_worker_loses_only_its_slots(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    job = submit(path, run, "--", notes, gate, nodes=2)
    job.until(lambda: len(list(job.values())) == 10 and len(places(job)) == 4)
    worker = next(
        process
        for process in job.processes("hpcflow worker")
        if process.environ()["SLURM_NODEID"] == "1" and process.name() != "srun"
    )
    node = worker.environ()["SLURMD_NODENAME"]
    worker.kill()
    job.until(lambda: sum(isinstance(event, SlotLost) for event in job.events()) == 2)
    gate.touch()
    job.assert_succeeded()
    lost = {event.slot for event in job.events() if isinstance(event, SlotLost)}
    assert lost == {f"{node}.0", f"{node}.1"}
    assert dict(job.values()) == {str(n): n * n for n in range(20)}
