"""A node of the batch job that fails takes its own slots with it, and nothing else."""

from __future__ import annotations

from pathlib import Path

from hpcflow.core.event import SlotLost
from tests.slurm.jobs import call, submit
from tests.slurm.test_submit import WAITS_HALF_WAY, driver, places


def test_the_failure_of_a_node_loses_only_its_slots(tmp_path: Path) -> None:
    path, run = driver(tmp_path, WAITS_HALF_WAY), tmp_path / "run"
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    job = submit(path, run, "--", notes, gate, nodes=2)
    job.until(lambda: len(list(job.values())) == 10 and len(places(job)) == 4)
    node = max(host for host, _ in places(job))  # the batch script runs on the first
    update = ("scontrol", "update", f"nodename={node}")
    assert call(*update, "state=down", "reason=test").returncode == 0
    try:
        job.until(lambda: sum(isinstance(event, SlotLost) for event in job.events()) == 2)
        gate.touch()
        job.assert_succeeded()
    finally:
        call(*update, "state=resume")
    lost = {event.slot for event in job.events() if isinstance(event, SlotLost)}
    assert lost == {f"{node}.0", f"{node}.1"}
    assert dict(job.values()) == {str(n): n * n for n in range(20)}
