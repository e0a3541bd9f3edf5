"""Machines are data: strict files, and the nearest name for a misspelt one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcflow.batch.machine import MACHINES, known_machines, load_machine
from hpcflow.batch.walltime import parse_walltime
from hpcflow.errors import RequestError

_NAMES = ["andes", "frontier", "laptop", "perlmutter", "summit", "test-slurm"]


def test_the_machines_that_come_with_hpcflow_are_these() -> None:
    assert known_machines() == _NAMES


@pytest.mark.parametrize("name", _NAMES)
def test_every_machine_is_read_and_says_where_its_facts_are_from(name: str) -> None:
    machine = load_machine(name)
    assert machine.name == name
    first = (MACHINES / f"{name}.toml").read_text().split("\n\n")[0]
    assert first.startswith("# ")
    if name not in {"laptop", "test-slurm"}:
        assert "https://docs." in first


def test_a_summit_node_has_42_cores_for_jobs_and_6_gpus() -> None:
    nodes = load_machine("summit").nodes
    assert (nodes.usable_cores, nodes.gpus, nodes.count) == (42, 6, 4608)


def test_an_unknown_machine_gets_the_nearest_name() -> None:
    with pytest.raises(RequestError, match=r"cannot find machine 'sumit' .* did you mean 'summit'"):
        load_machine("sumit")


def test_a_machine_may_be_a_file_of_the_users_or_stand_in_a_directory_of_theirs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((MACHINES / "andes.toml").read_text())
    assert load_machine(str(path)).name == "mine"
    assert load_machine("mine", directory=tmp_path).nodes.cores == 32


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("count = 704", "cuont = 704", "nodes has no key 'cuont'; did you mean 'count'"),
        ('"slurm"', '"slrum"', "batch_system cannot be 'slrum'; did you mean 'slurm'"),
        ('"srun"', '"jsrun"', "batch system slurm goes with step launcher srun, not jsrun"),
        ("cores = 32", "", "nodes.cores is missing"),
        ("count = 704", "count = 0", "a count of nodes, cores or GPUs is out of range"),
        ('walltime = "36h"', 'walltime = "36 hours"', "'36 hours' as a wall time"),
        ("nodes = 16", "nodes = 65", "limits out of order"),
        ('scratch = "/tmp"', 'scratch = "/tmp;x"', "a scratch directory"),
        ('"ib0"', '"ib0\\n"', "character 4 is a control character"),
        ("account_required = true", 'setup = ["a\\u2028b"]', "a line separator"),
        ("account_required = true", "explicit_placement = true", "only jsrun"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    text = (MACHINES / "andes.toml").read_text()
    assert before in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(RequestError, match="cannot ") as error:
        load_machine(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "0", "2", "2h30", "h", "-1h", "2:70:00", "1h 30m", "0m"])
def test_what_is_no_wall_time_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="wall time"):
        parse_walltime(text)
