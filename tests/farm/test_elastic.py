"""Elastic farms without a batch system: workers are processes, and come and go as they should."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpcflow import Farm, FarmError, RequestError, current_task
from hpcflow.batch.listing import live_jobs
from hpcflow.batch.machine import MACHINES
from hpcflow.core.event import SlotJoined, SlotLost
from hpcflow.errors import BatchSystemError
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.reader import read_journal
from hpcflow.journal.verify import verify
from hpcflow.testing.lsf import Cluster, install_lsf
from hpcflow.timing.ledger import Category, ledger_of
from tests.batch.programs import write_program

CORES = len(os.sched_getaffinity(0))
"""Slots of a worker here."""
SOON_S = 40.0

DRIVER = """
import sys, time
from hpcflow import Farm

with Farm.elastic(sys.argv[1], minimum=2, maximum=2, walltime_s=600, run=sys.argv[2]) as farm:
    list(farm.map(time.sleep, [600] * 9))
"""


def local(tmp_path: Path, *, nodes: int = 3, setup: str = "") -> Path:
    """Write the file of a machine without a batch system."""
    path = tmp_path / "here.toml"
    text = (MACHINES / "laptop.toml").read_text().replace("count = 1 ", f"count = {nodes} ")
    path.write_text(
        text.replace("[nodes]", f"setup = [{setup!r}]\n\n[nodes]" if setup else "[nodes]")
    )
    return path


def elastic(machine: Path | str, **options: Any) -> Farm:
    asked: dict[str, Any] = {"maximum": 1, "walltime_s": 600}
    return Farm.elastic(machine, **(asked | options))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.05)


def workers(run: Path) -> list[psutil.Process]:
    """Return the workers' processes of a run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "worker" in words and str(run) in words and "--farm" in words:
            found.append(process)
    return found


def lost(run: Path) -> list[str]:
    """Return the slots that were lost."""
    events = read_journal(RunDirectory(run).journal)
    return [event.slot for event in events if isinstance(event, SlotLost)]


def slots_up(run: Path) -> int:
    events = read_journal(RunDirectory(run).journal)
    return sum(isinstance(event, SlotJoined) for event in events) - len(lost(run))


def hold(gate: str) -> str:
    while not os.path.exists(gate):  # noqa: PTH110  # nothing that a runner would have to import
        time.sleep(0.05)
    return current_task().slot


def test_a_driver_for_a_cluster_runs_on_the_laptop_as_it_stands(tmp_path: Path) -> None:
    with elastic("laptop", minimum=2, maximum=50, run=tmp_path / "run") as farm:
        assert sorted(o.result() for o in farm.map(abs, range(-9, 0))) == list(range(1, 10))
        farm.wait_for_slots()
        assert farm.statistics().slots == CORES
    assert verify(RunDirectory(tmp_path / "run")).complete


def test_without_a_run_directory_nothing_is_kept() -> None:
    with elastic("laptop") as farm:
        assert [o.result() for o in farm.map(abs, [-1])] == [1]


def test_it_grows_with_what_waits_and_shrinks_when_idle(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    machine = local(tmp_path)
    with elastic(machine, minimum=1, maximum=3, idle_s=1, run=run) as farm:
        farm.wait_for_slots()
        assert farm.statistics().slots == CORES
        outcomes = farm.map(hold, [str(gate)] * 3 * CORES)
        until(lambda: farm.statistics().slots == 3 * CORES)
        gate.touch()
        assert len({outcome.result() for outcome in outcomes}) == 3 * CORES
        until(lambda: farm.statistics().slots == CORES)
        assert [o.result() for o in farm.map(abs, [-1])] == [1]
        until(lambda: len(workers(run)) == 1)
    verdict = verify(RunDirectory(run))
    assert verdict.complete, verdict.problems
    assert workers(run) == []
    ledger = ledger_of(read_journal(RunDirectory(run).journal))
    assert ledger.slots == 3 * CORES
    assert 0 < ledger.allocation_s < ledger.slots * ledger.held_s
    assert ledger.seconds[Category.DEAD] == 0


def test_waiting_for_slots_makes_it_grow(tmp_path: Path) -> None:
    with elastic(local(tmp_path), maximum=2, run=tmp_path / "run") as farm:
        farm.wait_for_slots(2 * CORES, timeout_s=SOON_S)
        with pytest.raises(RequestError, match=f"the farm has {2 * CORES}"):
            farm.wait_for_slots(2 * CORES + 1)


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    with elastic(local(tmp_path), maximum=2, run=run) as farm:
        outcomes = farm.map(hold, [str(gate)] * 2 * CORES)
        until(lambda: farm.statistics().slots == 2 * CORES)
        workers(run)[0].kill()
        until(lambda: farm.statistics().slots == CORES)
        until(lambda: farm.statistics().slots == 2 * CORES)
        gate.touch()
        assert len([outcome.result() for outcome in outcomes]) == 2 * CORES
    verdict = verify(RunDirectory(run))
    assert verdict.complete, verdict.problems


def test_a_worker_leaves_before_its_wall_time_and_gives_its_tasks_back(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    # the clock of the first worker's script is slow: it has 40 s left, and leaves after 10
    clock = (
        f"date() {{ mkdir {tmp_path}/first 2>/dev/null && echo $(($(command date +%s) - 140))"
        " || command date +%s; }"
    )
    with elastic(local(tmp_path, setup=clock), walltime_s=180, run=run) as farm:
        outcomes = farm.map(lambda gate: (hold(gate), current_task().time_left_s()), [str(gate)])
        until(lambda: len(lost(run)) == CORES)
        until(lambda: slots_up(run) == CORES)
        gate.touch()
        (outcome,) = outcomes
        _, left_s = outcome.result()
        assert 100 < left_s <= 180
        assert outcome.attempt == 2
    assert sorted(lost(run)) == [f"w1.{n}" for n in range(CORES)]


def test_a_preload_that_fails_breaks_the_farm_with_its_error(tmp_path: Path) -> None:
    def load() -> None:
        raise OSError("no weights.pt")

    with elastic(local(tmp_path), maximum=3, run=tmp_path / "run") as farm:
        farm.preload("model", load)
        with pytest.raises(FarmError, match="no weights"):
            list(farm.map(abs, range(9)))


def test_without_its_scheduler_the_farm_breaks_and_its_workers_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with elastic(local(tmp_path), minimum=2, maximum=2, run=run) as farm:
        farm.wait_for_slots(timeout_s=SOON_S)
        os.kill(farm.process_ids["scheduler"], signal.SIGKILL)
        with pytest.raises(FarmError, match="scheduler ended"):
            list(farm.map(time.sleep, [600]))
    until(lambda: workers(run) == [])


def test_the_farm_ends_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    run, driver = tmp_path / "run", tmp_path / "driver.py"
    driver.write_text(DRIVER)
    process = subprocess.Popen([sys.executable, driver, local(tmp_path), run])
    until(lambda: (run / "journal.jsonl").exists() and slots_up(run) == 2 * CORES)
    assert len(workers(run)) == 2
    process.kill()
    process.wait()
    until(lambda: workers(run) == [])
    until(lambda: list((run / "security").iterdir()) == [])


def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    run, driver = tmp_path / "run", tmp_path / "driver.py"
    driver.write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, driver, local(tmp_path), run], stderr=subprocess.PIPE, text=True
    )
    until(lambda: (run / "journal.jsonl").exists() and slots_up(run) == 2 * CORES)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SOON_S)
    assert "KeyboardInterrupt" in said
    assert workers(run) == []
    assert list((run / "security").iterdir()) == []


def test_what_it_writes_is_its_users_alone_and_holds_no_secret(tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = os.umask(0)
    try:
        with elastic(local(tmp_path), run=run) as farm:
            assert [o.result() for o in farm.map(abs, [-1])] == [1]
            secret = (run / "security" / "pair.pem").read_text()
            (worker,) = workers(run)
            told = " ".join(worker.cmdline())
    finally:
        os.umask(before)
    for path in run.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    key = max(secret.splitlines(), key=len)
    texts = [path.read_bytes().decode() for path in run.rglob("*") if path.is_file()]
    assert all(key not in text for text in [*texts, told])


# -- on LSF


def test_on_lsf_a_worker_is_a_step_of_its_own_batch_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gate, path = tmp_path / "run", tmp_path / "gate", tmp_path / "peak.toml"
    for name, text in install_lsf(tmp_path / "lsf", Cluster(hosts=1, gpus=2), os.environ).items():
        monkeypatch.setenv(name, text)
    text = (MACHINES / "summit.toml").read_text()
    text = text.replace('interface = "ib0"', 'interface = "lo"').replace("gpus = 6", "gpus = 2")
    path.write_text(re.sub(r"^(setup|scratch) = .*$", "", text, flags=re.MULTILINE))
    with elastic(path, minimum=1, run=run, account="abc123") as farm:
        farm.wait_for_slots()
        (job,) = live_jobs("lsf")
        outcomes = farm.map(hold, [str(gate)] * 4)
        until(lambda: farm.statistics().offered == 4)
        assert subprocess.call(["bkill", job], stdout=subprocess.DEVNULL) == 0
        until(lambda: farm.statistics().slots == 0)
        until(lambda: farm.statistics().slots == 2)
        assert job not in live_jobs("lsf")
        gate.touch()
        finished = list(outcomes)
    assert {outcome.device for outcome in finished} == {"0", "1"}
    verdict = verify(RunDirectory(run))
    assert verdict.complete, verdict.problems
    until(lambda: live_jobs("lsf") == set())


# -- what is refused


def slurm_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str] = ("", "")
) -> Path:
    """Write the file of a Slurm machine, and an `sbatch` that must not be called."""
    write_program(tmp_path / "bin", "sbatch", f"touch {tmp_path}/submitted; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    text = (MACHINES / "test-slurm.toml").read_text()
    assert change[0] in text
    path = tmp_path / "cluster.toml"
    path.write_text(text.replace(*change, 1))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum": 3, "maximum": 2}, "at least 3 workers and at most 2"),
        ({"minimum": -1}, "cannot have -1 workers: 'minimum' is a whole number, at least 0"),
        ({"maximum": 0}, "cannot have 0 workers: 'maximum' is a whole number, at least 1"),
        ({"maximum": 1.5}, "cannot have 1.5 workers"),
        ({"maximum": 5}, "up to 5 workers on cluster: each has a node, and there are 4"),
        ({"queue": "debug"}, "cannot ask for 10m in queue debug of cluster: it gives 5m at most"),
        ({"queue": "debgu"}, "did you mean 'debug'"),
        ({"walltime_s": 30}, "a worker needs 3m"),
        ({"walltime_s": 0}, "cannot use 0 as `walltime_s`"),
        ({"idle_s": "long"}, "cannot use 'long' as `idle_s`"),
        ({"account": "a\nb"}, "is a control character"),
        ({"run": None}, "without a run directory"),
        ({"run": "a run"}, "gives? ' ' in a path a meaning"),
        ({"interface": "ib7"}, "cannot listen on interface 'ib7'"),
    ],
)
def test_what_the_machine_cannot_give_is_refused_before_anything_is_started(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = slurm_machine(tmp_path, monkeypatch)
    asked: dict[str, Any] = {"run": tmp_path / "run"} | options
    if asked["run"] == "a run":
        asked["run"] = tmp_path / "a run"
    with pytest.raises(RequestError, match=message):
        elastic(machine, **asked)
    assert not (tmp_path / "submitted").exists()
    assert not (tmp_path / "run").exists()


def test_an_unknown_machine_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did you mean 'frontier'"):
        elastic("fronteir", run=tmp_path / "run")


def test_a_queue_that_takes_fewer_jobs_of_a_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = ('name = "batch"', 'name = "batch"\njobs = 2')
    machine = slurm_machine(tmp_path, monkeypatch, queue)
    with pytest.raises(RequestError, match="it takes 2 of a user"):
        elastic(machine, maximum=3, run=tmp_path / "run")


def test_a_machine_that_charges_wants_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    required = ('interface = "lo"', 'account_required = true\ninterface = "lo"')
    machine = slurm_machine(tmp_path, monkeypatch, required)
    with pytest.raises(RequestError, match="without an account"):
        elastic(machine, run=tmp_path / "run")


def test_without_the_batch_systems_programs_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = slurm_machine(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="there is no program 'sbatch' on PATH"):
        elastic(machine, run=tmp_path / "run")


def test_in_a_batch_job_of_its_own_a_driver_has_a_farm_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = slurm_machine(tmp_path, monkeypatch)
    monkeypatch.setenv("HPCFLOW_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(RequestError, match="in batch job 77"):
        elastic(machine, run=tmp_path / "run")


def test_refusals_of_the_batch_system_are_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "sbatch: error: Batch job submission failed: Invalid account"
    machine = slurm_machine(tmp_path, monkeypatch)
    count = tmp_path / "count"
    write_program(tmp_path / "bin", "sbatch", f"echo x >> {count}; echo '{words}' >&2; exit 1")
    write_program(tmp_path / "bin", "squeue", "true")
    with (
        pytest.raises(FarmError, match=re.escape(words)),
        elastic(machine, maximum=4, run=tmp_path / "run") as farm,
    ):
        list(farm.map(abs, range(100)))
    assert len(count.read_text().split()) == 4 + 4
    assert BatchSystemError.__name__ not in (tmp_path / "run/logs/elastic.log").read_text()
