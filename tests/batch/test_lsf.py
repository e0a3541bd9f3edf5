"""LSF and jsrun by the fakes that hpcflow ships: strict about flags, with real processes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hpcflow.batch.command import Patience
from hpcflow.batch.lsf import Lsf
from hpcflow.batch.machine import load_machine
from hpcflow.batch.script import render
from hpcflow.batch.system import JobState
from hpcflow.errors import BatchSystemError
from hpcflow.testing.lsf import Cluster, install_lsf
from tests.batch.asking import request
from tests.batch.programs import write_program
from tests.batch.test_local import until

_HEAD = "#BSUB -P abc123\n#BSUB -W 0:10\n"


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(hosts=2)


@pytest.fixture
def place(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in install_lsf(tmp_path / "lsf", cluster, os.environ).items():
        monkeypatch.setenv(name, text)
    return tmp_path


def _lsf(waits: list[float] | None = None) -> Lsf:
    return Lsf(Patience(attempts=4, first_wait_s=1, sleep=([] if waits is None else waits).append))


def _job(place: Path, directives: str, body: str = "true") -> Path:
    return write_program(place, "batch.sh", f"{directives}\n{body}")


def _step(place: Path, arguments: str) -> str:
    """Run a job whose script is one jsrun, and return what it prints."""
    out = place / "out"
    script = _job(place, f"{_HEAD}#BSUB -nnodes 2\n#BSUB -o {out}", f"jsrun {arguments}")
    job = _lsf().submit(script)
    until(lambda: not _lsf().state(job).live)
    return out.read_text()


def test_a_job_runs_and_ends(place: Path) -> None:
    script = _job(place, f"{_HEAD}#BSUB -nnodes 1\n#BSUB -o {place}/%J.out", 'echo "$LSB_JOBID"')
    job = _lsf().submit(script)
    until(lambda: _lsf().state(job) == JobState.SUCCEEDED)
    assert (place / f"{job}.out").read_text() == f"{job}\n"
    _lsf().cancel(job)


def test_a_job_that_fails_says_so(place: Path) -> None:
    job = _lsf().submit(_job(place, f"{_HEAD}#BSUB -nnodes 1", "exit 3"))
    until(lambda: _lsf().state(job) not in (JobState.WAITING, JobState.RUNNING))
    assert _lsf().state(job) == JobState.FAILED


def test_a_job_is_cancelled(place: Path) -> None:
    job = _lsf().submit(_job(place, f"{_HEAD}#BSUB -nnodes 1", "sleep 600"))
    assert _lsf().state(job) == JobState.RUNNING
    _lsf().cancel(job)
    until(lambda: _lsf().state(job) == JobState.FAILED)


def test_a_job_waits_for_the_end_of_the_one_before_however_that_ends(place: Path) -> None:
    gate = place / "gate"
    first = _job(
        place, f"{_HEAD}#BSUB -nnodes 1", f"until [[ -e {gate} ]]; do sleep 0.02; done; exit 3"
    )
    before = _lsf().submit(first)
    after = _lsf().submit(_job(place, f"{_HEAD}#BSUB -nnodes 1", "true"), after=before)
    assert (_lsf().state(before), _lsf().state(after)) == (JobState.RUNNING, JobState.WAITING)
    gate.touch()
    until(lambda: _lsf().state(after) == JobState.SUCCEEDED)
    assert _lsf().state(before) == JobState.FAILED


def test_a_job_that_waits_is_cancelled_and_never_begins(place: Path) -> None:
    before = _lsf().submit(_job(place, f"{_HEAD}#BSUB -nnodes 1", "sleep 600"))
    after = _lsf().submit(
        _job(place, f"{_HEAD}#BSUB -nnodes 1", f"touch {place}/ran"), after=before
    )
    _lsf().cancel(after)
    _lsf().cancel(before)
    until(lambda: not _lsf().state(before).live)
    assert _lsf().state(after) == JobState.FAILED
    assert not (place / "ran").exists()


def test_an_unknown_job_is_gone(place: Path) -> None:
    assert _lsf().state("77") == JobState.GONE
    _lsf().cancel("77")


@pytest.mark.parametrize(
    ("directives", "said"),
    [
        (_HEAD, "The '-nnodes' flag is required."),
        (f"{_HEAD}#BSUB -n 42", "30: The '-n <slots>' flag is no longer supported."),
        (f"{_HEAD}#BSUB -nnodes 3", "At most 2 nodes can be requested."),
        (f"{_HEAD}#BSUB --nnodes 2", "--nnodes: Illegal option. Job not submitted."),
        (f"{_HEAD}#BSUB -nnodes 1\n#BSUB -w 'done(1)'", "Dependency condition invalid"),
        ("#BSUB -nnodes 1\n#BSUB -W 1:00", "The '-P' flag is required."),
        ("#BSUB -nnodes 1\n#BSUB -P a\n#BSUB -W 1h", "Bad argument for option -W."),
        (f"{_HEAD}#BSUB -nnodes 1\n#BSUB -q fast", "fast: No such queue. Job not submitted."),
    ],
)
def test_a_rejection_keeps_the_words_of_lsf(directives: str, said: str, place: Path) -> None:
    with pytest.raises(BatchSystemError) as error:
        _lsf().submit(_job(place, directives))
    assert said in error.value.stderr
    assert said in str(error.value)
    assert not error.value.transient


@pytest.mark.parametrize("cluster", [Cluster(hosts=1, busy=2)])
def test_a_busy_lsf_is_tried_again(place: Path) -> None:
    waits: list[float] = []
    job = _lsf(waits).submit(_job(place, f"{_HEAD}#BSUB -nnodes 1"))
    assert waits == [1, 2]
    until(lambda: not _lsf().state(job).live)


def test_jsrun_gives_each_resource_set_its_own_gpu(place: Path) -> None:
    command = "bash -c 'echo $JSM_NAMESPACE_RANK $OMPI_COMM_WORLD_LOCAL_RANK $CUDA_VISIBLE_DEVICES'"
    shown = _step(place, f"-n 12 -r 6 -a 1 -c 7 -g 1 -b rs {command}")
    lines = sorted(tuple(map(int, line.split())) for line in shown.splitlines())
    assert lines == [(rank, rank % 6, rank % 6) for rank in range(12)]


def test_jsrun_reads_an_explicit_resource_file(place: Path) -> None:
    (place / "sets").write_text(
        "cpu_index_using: logical\n"
        "rank: 0: { host: 1; cpu: {0-6}; gpu: {4} }\n"
        "rank: 1: { host: 2; cpu: {3}; gpu: {0-5} }\n"
    )
    command = "bash -c 'echo $JSM_NAMESPACE_RANK $CUDA_VISIBLE_DEVICES'"
    shown = _step(place, f"--smpiargs off --erf_input {place}/sets {command}")
    assert sorted(shown.splitlines()) == ["0 4", "1 0,1,2,3,4,5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-n 3 -r 1 -c 42 true", "Requested job constraints cannot be met"),
        ("-n 2 -r 2 -c 22 true", "Requested job constraints cannot be met"),
        ("-n 1 -g 7 true", "Requested job constraints cannot be met"),
        ("--nodes 2 true", "jsrun: --nodes: unknown option"),
        ("-z 2 true", "jsrun: -z: unknown option"),
        ("-n many true", "jsrun: --nrs: invalid numeric value"),
        ("--erf_input /none true", "The resource file >>/none<< could not be opened."),
    ],
)
def test_jsrun_refuses_what_the_hosts_do_not_hold_and_what_it_does_not_know(
    arguments: str, said: str, place: Path
) -> None:
    assert said in _step(place, arguments)


def test_jsrun_works_in_a_batch_job_alone(place: Path) -> None:
    shown = subprocess.run(
        ["jsrun", "-n", "1", "true"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 255
    assert "Error initializing RM connection. Exiting." in shown.stderr


# A stand-in for the farm's processes: the workers write down where they are and stay; the wait
# looks for them; the scheduler only has to be there.
_HPCFLOW = """
case "$1" in
scheduler)
    [[ "$*" == *"--shard 2"* ]] && name=scheduler-2.json || name=scheduler.json
    echo '{}' > "$HPCFLOW_RUN/$name"
    exec sleep 600 ;;
worker)
    echo "$CUDA_VISIBLE_DEVICES" > "$HPCFLOW_RUN/w.$$"
    exec sleep 600 ;;
wait) until [[ $(ls "$HPCFLOW_RUN" | grep -c '^w[.]') -eq WORKERS ]]; do sleep 0.02; done ;;
esac
"""


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("worker_per", ["node", "slot"])
@pytest.mark.parametrize("explicit", [False, True])
def test_the_script_for_summit_runs_from_the_scheduler_to_the_drivers_exit_code(
    shards: int, worker_per: str, explicit: bool, place: Path
) -> None:
    workers = 2 if worker_per == "node" else 12
    write_program(place / "programs", "hpcflow", _HPCFLOW.replace("WORKERS", str(workers)))
    write_program(place / "programs", "python", 'echo "driver: $*"; exit 7')
    run = place / "run"
    (run / "logs").mkdir(parents=True)
    machine = msgspec.structs.replace(
        load_machine("summit"), explicit_placement=explicit, setup=[], scratch=None
    )
    asked = replace(
        request(
            run=run,
            directory=place,
            programs=place / "programs",
            nodes=2,
            worker_per=worker_per,
            shards=shards,
            arguments=("it's",),
        ),
        machine=machine,
    )
    script = run / "batch.sh"
    script.write_text(render(asked))

    job = _lsf().submit(script)
    until(lambda: not _lsf().state(job).live)

    assert _lsf().state(job) == JobState.FAILED
    assert (run / "logs" / f"batch-{job}.log").read_text().endswith("static_fan_out.py it's\n")
    devices = sorted(path.read_text().strip() for path in run.glob("w.*"))
    one_node = ["0,1,2,3,4,5"] if worker_per == "node" else list("012345")
    assert devices == sorted(one_node * 2)
