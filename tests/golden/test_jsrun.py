"""The worked scripts in jsrun/: each is what its command prints, and holds together."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

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
_SET = re.compile(r"rank: (\d+): \{ host: (\d+); cpu: \{(\d+)-(\d+)\}(?:; gpu: \{(\d)-(\d)\})? \}")


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


@pytest.mark.parametrize("name", ["static-1000-nodes.sh", "worker-per-slot.sh"])
def test_the_steps_fill_the_nodes_and_no_more(name: str) -> None:
    script = (ROOT / "jsrun" / name).read_text()
    found = re.search(r"^#BSUB -nnodes (\d+)$", script, flags=re.MULTILINE)
    assert found is not None
    nodes = int(found[1])
    steps = [(program, *map(int, numbers)) for *numbers, program in _STEP.findall(script)]
    assert [program for program, *_ in steps] == ["scheduler", "worker", "worker", "wait", "python"]
    scheduler, first, others, wait, driver = (numbers for _, *numbers in steps)
    assert wait == driver
    assert sum(count * cores for count, _, cores, _ in (scheduler, first, driver)) <= 42
    assert first[0] * first[3] == 6
    assert others[0] // others[1] == nodes - 1
    assert others[1] * others[2] <= 42
    assert others[0] * others[3] == 6 * (nodes - 1)
    assert f"--slots {6 * nodes} " in script


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
