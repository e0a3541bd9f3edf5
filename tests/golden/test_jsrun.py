"""The worked scripts in jsrun/: each is what its command prints, and holds together."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from click.testing import CliRunner

from hpcflow.batch.machine import load_machine
from hpcflow.cli import main

ROOT = Path(__file__).parents[2]
_PLACE = "/gpfs/alpine/abc123/hpcflow"
_ROWS = re.findall(
    r"^\| `([\w-]+\.sh)` \| `hpcflow (.*)` \|$",
    (ROOT / "jsrun/README.md").read_text(),
    flags=re.MULTILINE,
)
_STEP = re.compile(
    r"^jsrun --smpiargs off --nrs (\d+) --rs_per_host (\d+) --tasks_per_rs 1 --cpu_per_rs (\d+)"
    r" --gpu_per_rs (\d+) --bind rs \\\n    (?:hpcflow )?(\w+)",
    flags=re.MULTILINE,
)
CORES, GPUS = 42, 6
_SET = re.compile(r"rank: (\d+): \{ host: (\d+); cpu: \{(\d+)-(\d+)\}(?:; gpu: \{(\d)-(\d)\})? \}")


class _Sets(NamedTuple):
    """The resource sets of one step."""

    program: str
    number: int
    per_host: int
    cores: int
    gpus: int


def test_every_script_has_its_command() -> None:
    assert sorted(name for name, _ in _ROWS) == sorted(
        path.name for path in (ROOT / "jsrun").glob("*.sh")
    )


@pytest.mark.parametrize(("name", "command"), _ROWS)
def test_a_script_is_what_its_command_prints(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(main, shlex.split(command), prog_name="hpcflow")
    assert shown.exit_code == 0, shown.stderr
    script = shown.stdout.replace(str(Path(sys.executable).parent), f"{_PLACE}/.venv/bin")
    assert script.replace(str(ROOT), _PLACE) == (ROOT / "jsrun" / name).read_text()


@pytest.mark.parametrize(
    ("name", "nodes", "shards", "slots"),
    [
        ("static-1000-nodes.sh", 1000, 1, 6),
        ("worker-per-slot.sh", 45, 1, 6),
        ("mixed-cpu-gpu.sh", 45, 1, 12),
        ("two-shards.sh", 1500, 2, 6),
        ("four-shards.sh", 4000, 4, 6),
    ],
)
def test_the_steps_fill_the_nodes_and_no_more(
    name: str, nodes: int, shards: int, slots: int
) -> None:
    script = (ROOT / "jsrun" / name).read_text()
    assert f"\n#BSUB -nnodes {nodes}\n" in script
    steps = [_Sets(program, *map(int, numbers)) for *numbers, program in _STEP.findall(script)]
    programs = ["scheduler"] * shards + ["worker"] * (shards + 1) + ["wait", "python"]
    assert [step.program for step in steps] == programs
    schedulers, (first, *others) = steps[:shards], steps[shards:-2]
    wait, driver = steps[-2:]
    assert wait[1:] == driver[1:]
    head = (*schedulers, first, driver)
    assert sum(step.number * step.cores for step in head) <= CORES
    assert first.number * first.gpus == GPUS
    assert sum(step.number // step.per_host for step in others) == nodes - 1
    assert all(step.per_host * step.cores <= CORES for step in others)
    assert sum(step.number * step.gpus for step in others) == GPUS * (nodes - 1)
    assert f'hpcflow wait --run "$HPCFLOW_RUN" --slots {slots * nodes} ' in script


@pytest.mark.parametrize(("name", "shards", "each"), [("two", 2, 4500), ("four", 4, 6000)])
def test_each_shard_has_the_workers_that_its_slots_take(name: str, shards: int, each: int) -> None:
    script = (ROOT / f"jsrun/{name}-shards.sh").read_text()
    served = dict.fromkeys(range(1, shards + 1), 0)
    for nodes, shard in re.findall(r"--nrs (\d+) .*\n    hpcflow worker .*--shard (\d)", script):
        served[int(shard)] += GPUS * int(nodes)
    assert served == dict.fromkeys(range(1, shards + 1), each)
    assert f": {each:,} slots each\n" in script


def test_mixed_slots_are_six_with_a_gpu_and_six_without_on_each_node() -> None:
    script = (ROOT / "jsrun/mixed-cpu-gpu.sh").read_text()
    assert "# 540 slots, 6 with a GPU and 6 without on each node\n" in script
    assert "export HPCFLOW_SLOTS=gpu:270,cpu:270\n" in script
    assert script.count("--worker-per node --cpu-slots 6 ") == 2


def test_explicit_resource_files_give_no_core_and_no_gpu_twice(tmp_path: Path) -> None:
    script = (ROOT / "jsrun/explicit-resource-files.sh").read_text()
    groups = re.findall(r"^\{\n.*?^\} > .*?$", script, flags=re.MULTILINE | re.DOTALL)
    subprocess.run(
        ["bash", "-euc", "\n".join(groups)], env={"HPCFLOW_RUN": str(tmp_path)}, check=True
    )
    cores: Counter[tuple[int, int]] = Counter()
    gpus: Counter[tuple[int, int]] = Counter()
    names = ["driver", "scheduler", "workers", "workers-first-node"]
    assert sorted(path.stem for path in tmp_path.glob("*.erf")) == names
    for path in tmp_path.glob("*.erf"):
        head, *lines = path.read_text().splitlines()
        assert head == "cpu_index_using: logical"
        sets = [match.groups() for match in map(_SET.fullmatch, lines) if match is not None]
        assert [int(rank) for rank, *_ in sets] == list(range(len(lines)))
        for _, host, first, last, first_gpu, last_gpu in sets:
            cores.update((int(host), core) for core in range(int(first), int(last) + 1))
            if first_gpu:
                gpus.update((int(host), gpu) for gpu in range(int(first_gpu), int(last_gpu) + 1))
    assert set(cores.values()) == set(gpus.values()) == {1}
    assert set(cores) == {(host, core) for host in range(1, 1001) for core in range(42)}
    assert set(gpus) == {(host, gpu) for host in range(1, 1001) for gpu in range(6)}


def test_summit_with_explicit_placement_is_otherwise_summit() -> None:
    explicit = load_machine(str(ROOT / "jsrun/summit-explicit.toml"))
    usual = load_machine("summit")
    changed = {"explicit_placement": True, "name": explicit.name}
    assert msgspec.structs.replace(usual, **changed, description=explicit.description) == explicit
