"""The jobs of elastic workers, word for word, by each batch system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hpcflow.batch.machine import Machine, QueueName, load_machine
from hpcflow.farm.jobqueue import WorkerOrder, worker_job
from tests.golden.test_scripts import _shellcheck

HERE = Path(__file__).parent / "workers"
_PYTHON = "/ccs/proj/abc123/venv/bin/python"


def _other(system: QueueName, *options: str) -> Machine:
    """Return a machine of a batch system of which none comes with hpcflow."""
    return msgspec.structs.replace(
        load_machine("andes"),
        name="polaris",
        batch_system=system,
        step_launcher="direct",
        nodes=msgspec.structs.replace(load_machine("andes").nodes, gpus=4),
        batch_options=list(options),
    )


MACHINES: dict[str, Machine] = {
    "frontier.sh": load_machine("frontier"),
    "perlmutter.sh": load_machine("perlmutter"),
    "andes.sh": load_machine("andes"),
    "summit.sh": load_machine("summit"),
    "summit-explicit.sh": msgspec.structs.replace(load_machine("summit"), explicit_placement=True),
    "pbs.sh": _other("pbs", "-l filesystems=home:eagle"),
    "sge.sh": _other("sge", "-pe smp 32", "-l gpu=4"),
}


def _script(machine: Machine) -> str:
    order = WorkerOrder(
        machine=machine,
        run=Path("/gpfs/alpine/abc123/runs/replicas"),
        farm="0123abcd",
        walltime_s=9001,
        queue=machine.queues[0].name,
        account="abc123",
        slots="gpu:160" if machine.nodes.gpus else "cpu:640",
    )
    assert machine.batch_system != "local"
    text: str = worker_job(order, machine.batch_system, "w7").job_script()
    return text.replace(sys.executable, _PYTHON)


@pytest.mark.parametrize("name", MACHINES)
def test_the_script_is_the_golden_one(name: str) -> None:
    golden = HERE / name
    assert golden.exists(), f"there is no {golden}: write it by hand, after reading what it holds"
    assert _script(MACHINES[name]) == golden.read_text()


def test_every_golden_script_belongs_to_a_machine() -> None:
    assert sorted(path.name for path in HERE.glob("*.sh")) == sorted(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_bash_and_shellcheck_find_nothing_wrong(name: str) -> None:
    script = _script(MACHINES[name])
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    found = subprocess.run(
        [_shellcheck(), "-"], input=script, text=True, capture_output=True, check=False
    )
    assert found.stdout == ""


@pytest.mark.parametrize("name", MACHINES)
def test_a_script_holds_no_secret_and_names_its_farm(name: str) -> None:
    command = _script(MACHINES[name]).splitlines()[-1]
    assert command.startswith("exec ")
    assert '--run "$HPCFLOW_RUN" --farm 0123abcd --name w7' in command
    assert "tls" not in command
