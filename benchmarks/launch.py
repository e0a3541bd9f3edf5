"""Measure how a farm comes up: batch job, workers that join, and a node's worker.

    python -m benchmarks.launch [--output FILE]

Three parts, each of several rounds in which its cases alternate; figures are medians.

- `batch`: a batch job of 4 nodes with 2 GPUs each, by `hpcflow submit`, on a Slurm that is started
  for the purpose; needs root and Slurm's programs, and is skipped without.
- `join`: 64, 256 and 1,000 workers of 8 slots join one scheduler at once, and 1,000 join four. They
  are light ones (`benchmarks/light.py`): real Dask workers under TLS, many to a process, without
  runners. Schedulers, workers and driver share the machine's cores. The clock starts when all
  processes have imported what they need.
- `node`: a node with 8 GPUs starts one worker for all, or one for each GPU, while a driver waits.
  The clock starts before Python does; the workers and their runners are those of a batch script.

Nothing else should run on the machine meanwhile; the load when it began is in the result.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.light import GPUS
from benchmarks.measuring import Figures, machine, medians, show, write
from benchmarks.peer import ROOT, Peer, cpu_s, environment_with
from hpcflow.farm.rendezvous import find_scheduler
from hpcflow.journal.directory import RunDirectory

CLUSTER = ROOT / "tests" / "slurm" / "cluster"
JOINS = {"64": (64, 1), "256": (256, 1), "1,000": (1000, 1), "1,000 over 4 shards": (1000, 4)}
"""Workers and shards of each case."""
NODES = {"one worker": "node", "8 workers": "slot"}
"""How `hpcflow worker` is asked for each case."""
_LONGEST_S = 180.0
_SLURM = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
_DRIVER = """
import json, os, sys, time
import psutil
from pathlib import Path
from hpcflow import Farm

with Farm() as farm:
    farm.wait_for_slots()
    ready, since_boot_s = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    script = next(p for p in psutil.Process().parents() if "slurm_script" in " ".join(p.cmdline()))
    ticks = int(Path(f"/proc/{script.pid}/stat").read_text().rpartition(")")[2].split()[19])
    age_s = since_boot_s - ticks / os.sysconf("SC_CLK_TCK")
    Path(sys.argv[1]).write_text(json.dumps({"ready": ready, "age_s": age_s}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A run directory, with schedulers that are up, and what else is started for it."""

    run: RunDirectory
    schedulers: list[Peer]
    stack: contextlib.ExitStack
    environment: dict[str, str]

    def start(self, *arguments: str | Path, **environment: str) -> Peer:
        """Start a process of the farm."""
        logs = self.run.path.parent / "log"
        peer = Peer(*arguments, log=logs, environment=self.environment | environment)
        self.stack.callback(peer.close)
        return peer

    def driver(self) -> Peer:
        """Start a driver that will wait for all slots."""
        slots = self.environment["HPCFLOW_SLOTS"].partition(":")[2]
        run = str(self.run.path)
        return self.start("-m", "benchmarks.light", "drive", "--slots", slots, HPCFLOW_RUN=run)


@contextlib.contextmanager
def site(*, slots: int, shards: int) -> Iterator[Site]:
    """Start the schedulers of a batch script on loopback; end all at the end."""
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as stack:
        made = Site(
            run=RunDirectory(Path(base) / "run"),
            schedulers=[],
            stack=stack,
            environment={"HPCFLOW_SLOTS": f"gpu:{slots}", "HPCFLOW_SHARDS": str(shards)},
        )
        for shard in range(1, shards + 1):
            options = ("--run", made.run.path, "--interface", "lo", "--shard", str(shard))
            made.schedulers.append(made.start("-m", "hpcflow", "scheduler", *options))
        for shard in range(1, shards + 1):
            _wait(functools.partial(find_scheduler, made.run, job=None, shard=shard))
        yield made


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it has not come true in {_LONGEST_S:g} s")
        time.sleep(0.01)


# -- the parts


def join(workers: int, shards: int) -> Figures:
    """Return what it takes until light workers have joined, and the driver has all their slots."""
    with site(slots=workers * GPUS, shards=shards) as farm:
        cores = len(os.sched_getaffinity(0))
        edges = [workers * part // cores for part in range(cores + 1)]
        peers = [
            farm.start(
                *("-m", "benchmarks.light", "work", "--run", farm.run.path),
                *("--numbers", str(start), str(stop)),
                *("--of", str(workers), "--shards", str(shards)),
            )
            for start, stop in itertools.pairwise(edges)
        ]
        driver = farm.driver()
        for peer in (*peers, driver):
            peer.wait_for("ready")
        parties = {"schedulers": farm.schedulers, "light": peers, "driver": [driver]}

        def spent() -> dict[str, float]:
            return {name: cpu_s(members) for name, members in parties.items()}

        first, began = spent(), time.perf_counter()
        for peer in peers:
            peer.begin()
        for peer in peers:
            peer.wait_for("joined")
        joined, then = time.perf_counter() - began, spent()
        driver.begin()
        driver.wait_for("up")
        ready, last = time.perf_counter() - began, spent()
        each_ms = {name: 1e3 * (then[name] - first[name]) / workers for name in parties}
        return {
            "all joined [s]": joined,
            "then all lanes open, all slots ready [s]": ready - joined,
            "in all [s]": ready,
            "CPU of all processes in all [s]": sum(last.values()) - sum(first.values()),
            "scheduler's CPU per join [ms]": each_ms["schedulers"],
            "light workers' CPU per join [ms]": each_ms["light"],
            "driver's CPU for all lanes [s]": last["driver"] - then["driver"],
        }


def node(worker_per: str) -> Figures:
    """Return what it takes until the 8 slots of a node are ready."""
    with site(slots=GPUS, shards=1) as farm:
        driver = farm.driver()
        driver.wait_for("ready")
        driver.begin()
        before, began = cpu_s(farm.schedulers), time.perf_counter()
        options = ("--run", farm.run.path, "--interface", "lo", "--worker-per", worker_per)
        devices = ",".join(str(number) for number in range(GPUS))
        peers = [
            farm.start(
                *("-m", "hpcflow", "worker", *options),
                CUDA_VISIBLE_DEVICES=devices,
                OMPI_COMM_WORLD_LOCAL_RANK=str(rank),
            )
            for rank in range(GPUS if worker_per == "slot" else 1)
        ]
        driver.wait_for("up")
        took, runners_s, workers_s = (
            time.perf_counter() - began,
            sum(peer.runners_s() for peer in peers),
            cpu_s(peers),
        )
        return {
            "until 8 slots are ready [s]": took,
            "CPU of workers [s]": workers_s,
            "CPU of workers and runners [s]": workers_s + runners_s,
            "scheduler's CPU [ms]": 1e3 * (cpu_s(farm.schedulers) - before),
        }


def batch(rounds: int) -> list[Figures]:
    """Return what it takes until the 8 slots of a batch job by Slurm are ready."""
    # Not in the directory for temporary files of ours alone: paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as cluster, contextlib.ExitStack() as stack:
        ports = [str(port) for port in _free_ports(5)]
        _call([str(CLUSTER / "up.sh"), cluster, *ports])
        stack.callback(_call, [str(CLUSTER / "down.sh"), cluster])
        return [_submit(Path(cluster)) for _ in range(rounds)]


def _submit(cluster: Path) -> Figures:
    with tempfile.TemporaryDirectory() as base:
        driver, answer = Path(base) / "driver.py", Path(base) / "answer"
        driver.write_text(_DRIVER)
        asked = time.time()
        _call(
            [
                *(sys.executable, "-m", "hpcflow", "submit", str(driver)),
                *("--machine", "test-slurm", "--nodes", "4", "--walltime", "5m"),
                *("--run", str(Path(base) / "run"), "--", str(answer)),
            ],
            SLURM_CONF=str(cluster / "slurm.conf"),
        )
        _wait(lambda: answer.exists() and answer.read_text().endswith("}"))
        said = json.loads(answer.read_text())
        _wait(lambda: not _queue(cluster))
        return {
            "start of the batch script to all 8 slots ready [s]": said["age_s"],
            "`hpcflow submit` to all 8 slots ready [s]": said["ready"] - asked,
        }


def _queue(cluster: Path) -> str:
    environment = environment_with({"SLURM_CONF": str(cluster / "slurm.conf")})
    command = ("/usr/bin/env", "squeue", "--noheader")
    return subprocess.check_output(command, env=environment, text=True).strip()


def _why_no_slurm() -> str | None:
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [name for name in _SLURM if shutil.which(name, path=path) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "it needs root" if os.geteuid() != 0 else None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _call(command: Sequence[str], **environment: str) -> None:
    """Run a command to its end; its output goes to a file, which daemons may keep open."""
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.call(
            command,
            cwd=ROOT,
            env=environment_with(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        output.seek(0)
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {output.read()}")


# -- the command


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each case.")
@click.option(
    "--part",
    "parts",
    type=click.Choice(["batch", "join", "node"]),
    multiple=True,
    default=("batch", "join", "node"),
    help="Parts to measure.  [default: all]",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
def main(rounds: int, parts: Sequence[str], output: Path | None) -> None:
    """Measure how a farm comes up on this machine."""
    result: dict[str, dict[str, list[Figures]]] = {}
    here = machine()
    reason = _why_no_slurm() if "batch" in parts else None
    if reason is not None:
        print(f"batch job: skipped, no Slurm can be started here: {reason}")
    elif "batch" in parts:
        result["batch job"] = {"4 nodes x 2 GPUs": batch(rounds)}
    if "join" in parts:
        joins = {name: functools.partial(join, *of) for name, of in JOINS.items()}
        result["workers that join"] = _alternate(joins, rounds)
    if "node" in parts:
        nodes = {name: functools.partial(node, per) for name, per in NODES.items()}
        result["a node with 8 GPUs"] = _alternate(nodes, rounds)
    found = {part: medians(figures) for part, figures in result.items()}
    for part, figures in found.items():
        show(f"{part}: medians of {rounds} rounds", figures)
    write(output, {"machine": here, "medians": found, "rounds": result})


def _alternate(cases: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, list[Figures]]:
    """Measure the cases by turns."""
    figures: dict[str, list[Figures]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, measure in cases.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            figures[name].append(measure())
    return figures


if __name__ == "__main__":
    main()
