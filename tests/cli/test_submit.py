"""`hpcflow submit`, `logs`, `cancel` and `machines`, with real background jobs on this machine.

A machine's set-up lines define what stands in for the farm's processes; the driver is real.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner, Result

from hpcflow.batch.chain import cancel_all
from hpcflow.batch.record import JobRecord, log_of, read_record, write_record
from hpcflow.batch.system import JobState
from hpcflow.cli import main
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.lock import RunLock
from tests.batch.programs import write_program
from tests.batch.test_local import until
from tests.journals import Script, write_run

_MACHINE = """
description = "this machine, with stand-ins"
batch_system = "local"
step_launcher = "direct"
setup = [
    'hpcflow() {',
    '    case "$1" in',
    '    scheduler | worker) exec sleep 600 ;;',
    '    follow-up) command hpcflow "$@" ;;',
    '    esac',
    '}',
]

[nodes]
count = 1
cores = 2

[[queues]]
name = "background"
limits = [{ nodes = 1, walltime = "1h" }]
"""


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="hpcflow")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.toml").write_text(_MACHINE)
    (tmp_path / "driver.py").write_text(
        "import os, sys, time\n"
        "print('driver', *sys.argv[1:], os.environ['HPCFLOW_RUN'], flush=True)\n"
        "if 'ended' in sys.argv and len(os.listdir('ends')) < 2:\n"
        "    open(f'ends/{os.getpid()}', 'w').close()\n"
        "    os.kill(os.getpid(), 15)\n"
        "while os.path.exists('stay'): time.sleep(0.02)\n"
        "sys.exit(5 if 'fail' in sys.argv else 0)\n"
    )
    (tmp_path / "ends").mkdir()
    yield tmp_path
    record = read_record(tmp_path / "r")
    if record is not None:
        cancel_all(record.system_in(tmp_path / "r"), list(record.chain))


def _submit(*arguments: str) -> Result:
    options = ("--machine", "here.toml", "--walltime", "10m", "--run", "r")
    return _invoke("submit", "driver.py", *options, *arguments)


def _state() -> JobState:
    return _record().system_in(Path("r")).state(_record().id)


def _record() -> JobRecord:
    record = read_record(Path("r"))
    assert record is not None
    return record


def test_a_driver_runs_in_the_background_and_its_output_is_shown(place: Path) -> None:
    shown = _submit("--", "--fast", "it's", "$HOME")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout == f"{_record().id}\n"
    assert "2 slots for 10m. Follow it with: hpcflow logs r --follow" in shown.stderr
    until(lambda: not _state().live)
    assert _state() == JobState.SUCCEEDED
    assert _invoke("logs", "r").stdout == f"driver --fast it's $HOME {place}/r\n"


def test_the_drivers_exit_code_is_the_jobs(place: Path) -> None:
    _submit("--", "fail")
    until(lambda: not _state().live)
    assert _state() == JobState.FAILED


def test_what_submit_writes_is_private_and_recorded(place: Path) -> None:
    before = os.umask(0)
    try:
        _submit()
    finally:
        os.umask(before)
    until(lambda: not _state().live)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("r").rglob("*")}
    files = ("job.toml", "journal.lock", "submit.lock", "step-scheduler.log", "step-workers.log")
    assert {modes[name] for name in files} == {0o600}
    assert modes["batch.sh"] == modes["logs"] == stat.S_IMODE(Path("r").stat().st_mode) == 0o700
    record = _record()
    assert (record.system, record.machine, record.nodes, record.slots) == ("local", "here", 1, 2)
    assert record.script == str(place / "r" / "batch.sh")


def test_a_second_live_job_for_the_same_run_is_refused_and_cancel_makes_room(place: Path) -> None:
    (place / "stay").touch()
    _submit()
    refused = _submit()
    assert refused.exit_code == 2
    assert f"its batch job {_record().id} is running" in refused.stderr
    shown = _invoke("cancel", "r")
    assert shown.stdout == f"batch job {_record().id}, which was running, is cancelled\n"
    assert _invoke("cancel", "r").stdout == f"batch job {_record().id} is over: cancelled\n"
    (place / "stay").unlink()
    assert _submit().exit_code == 0
    until(lambda: not _state().live)


def test_a_run_that_a_driver_writes_is_not_submitted(place: Path) -> None:
    run = RunDirectory(place / "r")
    run.create()
    lock = RunLock.acquire(run)
    refused = _submit()
    lock.release()
    assert refused.exit_code == 2
    assert f"process {os.getpid()} on host" in refused.stderr
    assert not (place / "r" / "batch.sh").exists()


def test_a_dry_run_prints_the_script_and_writes_nothing(place: Path) -> None:
    before = sorted(place.iterdir())
    shown = _submit("--dry-run", "--", "a b")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("#!/bin/bash\n")
    assert shown.stdout.endswith(f"\npython {place}/driver.py 'a b'\n")
    assert sorted(place.iterdir()) == before


def test_a_cancelled_run_is_resumed_by_its_script_as_it_is_now(place: Path) -> None:
    (place / "stay").touch()
    _submit("--follow-ups", "1", "--", "one")
    first = _record()
    until(lambda: "driver one" in _invoke("logs", "r").stdout)
    assert "is running" in _invoke("resume", "r").stderr
    _invoke("cancel", "r")
    script = place / "r" / "batch.sh"
    script.write_text(script.read_text().replace("driver.py one", "driver.py two"))
    (place / "stay").unlink()
    shown = _invoke("resume", "r")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout == f"{_record().id}\n"
    until(_chain_is_over)
    assert "driver two" in _invoke("logs", "r").stdout
    assert not {_record().id, *_record().follow_ups} & {first.id, *first.follow_ups}
    assert len(_record().follow_ups) == 1
    assert "nothing to resume" in _invoke("resume", "r").stdout


@pytest.mark.parametrize(
    ("options", "spoil", "message"),
    [
        (("--slots", "2"), None, "its script says what it runs"),
        ((), lambda run: (run / "batch.sh").unlink(), "there is no batch.sh in it"),
        ((), lambda run: run.rename("moved"), "batch.sh was written for"),
        (("--here",), None, "it has no journal.jsonl"),
    ],
)
def test_what_cannot_be_resumed_by_a_batch_job_is_refused(
    options: tuple[str, ...],
    spoil: Callable[[Path], object] | None,
    message: str,
    place: Path,
) -> None:
    _submit("--", "fail")
    until(_chain_is_over)
    if spoil is not None:
        spoil(Path("r"))
    refused = _invoke("resume", *options, "r" if Path("r").exists() else "moved")
    assert refused.exit_code == 2
    assert message in refused.stderr


def _begun() -> int:
    return len(list(Path("r/logs").glob("batch-*.log")))


def _chain_is_over() -> bool:
    system = _record().system_in(Path("r"))
    return not any(system.state(job).live for job in _record().chain)


def test_follow_ups_continue_a_run_whose_driver_was_ended_from_outside(place: Path) -> None:
    shown = _submit("--follow-ups", "3", "--", "ended", "twice")
    assert "and up to 3 follow-ups. Follow it with" in shown.stderr
    assert shown.stdout == f"{_record().id}\n"
    until(_chain_is_over)
    assert _begun() == 3
    assert _record().over
    printed = _invoke("logs", "r", "--follow").stdout
    assert printed.count("driver ended twice") == 3


def test_a_batch_job_that_is_killed_is_followed(place: Path) -> None:
    (place / "stay").touch()
    _submit("--follow-ups", "1")
    until(lambda: "driver" in _invoke("logs", "r").stdout)
    leader = psutil.Process(int(_record().id.partition(".")[0]))
    os.killpg(leader.pid, signal.SIGKILL)
    (place / "stay").unlink()
    until(_chain_is_over)
    assert _begun() == 2
    system = _record().system_in(Path("r"))
    states = [system.state(job) for job in _record().chain]
    assert states == [JobState.CANCELLED, JobState.SUCCEEDED]


@pytest.mark.parametrize(("argument", "state"), [("fine", "succeeded"), ("fail", "failed")])
def test_a_driver_that_ends_by_itself_ends_the_chain(
    argument: str, state: str, place: Path
) -> None:
    _submit("--follow-ups", "2", "--", argument)
    until(_chain_is_over)
    assert _begun() == 1
    assert _invoke("cancel", "r").stdout == f"batch job {_record().id} is over: {state}\n"


def test_a_follow_up_that_could_not_be_cancelled_ends_by_itself_at_once(place: Path) -> None:
    (place / "stay").touch()
    _submit("--follow-ups", "1")
    write_record(Path("r"), msgspec.structs.replace(_record(), over=True))
    _record().system_in(Path("r")).cancel(_record().id)
    until(_chain_is_over)
    assert _begun() == 2
    assert "driver" not in log_of(Path("r"), _record().follow_ups[0]).read_text()
    assert _record().system_in(Path("r")).state(_record().follow_ups[0]) == JobState.SUCCEEDED


def test_cancel_ends_the_whole_chain(place: Path) -> None:
    (place / "stay").touch()
    _submit("--follow-ups", "2")
    shown = _invoke("cancel", "r").stdout
    assert shown == (
        f"batch job {_record().id}, which was running, is cancelled with its 2 follow-ups\n"
    )
    assert _chain_is_over()
    assert _begun() == 1


def test_following_ends_with_the_job(place: Path) -> None:
    _submit()
    shown = _invoke("logs", "r", "--follow")
    assert shown.stdout == f"driver {place}/r\n"
    assert not _state().live


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--walltime", "2h"], "it gives 1h at most"),
        (["--walltime", "soon"], "cannot use 'soon' as a wall time"),
        (["--nodes", "2"], "cannot ask for 2 nodes of here: it has 1"),
        (["--machine", "labtop"], "did you mean 'laptop'?"),
        (["--account", "a\nb"], "character 2 is a control character"),
        (["--follow-ups", "-1"], "cannot submit -1 follow-ups: their number is 0 or more"),
        (["--shards", "2"], "Ask for 1 to 1 shards"),
        (["--name", "a b"], "as the name of a batch job"),
        (["--run", "driver.py"], "as a run directory: it is a file"),
        (["--run", "."], "and no journal. Choose a new or an empty directory"),
        (["--run", "a%b"], "batch systems give '%' in a path"),
    ],
)
def test_a_bad_request_is_one_line_and_nothing_is_started(
    arguments: list[str], message: str, place: Path
) -> None:
    before = sorted(place.iterdir())
    shown = _submit(*arguments)
    assert shown.exit_code == 2
    assert message in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert sorted(place.iterdir()) == before


def test_a_missing_driver_is_refused(place: Path) -> None:
    shown = _invoke("submit", "drivr.py", "--machine", "here.toml", "--walltime", "1m")
    assert shown.exit_code == 2
    assert "there is no such file" in shown.stderr


@pytest.mark.parametrize("command", ["cancel", "logs"])
def test_without_a_batch_job_there_is_nothing_to_ask_after(command: str, place: Path) -> None:
    shown = _invoke(command, "none")
    assert shown.exit_code == 2
    assert "cannot find a batch job of 'none': it has no job.toml" in shown.stderr


def test_a_rejected_submission_leaves_no_job_behind(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(place / "bin", "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    shown = _submit("--machine", "test-slurm")
    assert shown.exit_code == 3
    assert "sbatch ended with code 1 and said: sbatch: error: invalid partition" in shown.stderr
    assert read_record(place / "r") is None


@pytest.mark.parametrize(("there", "follow_ups"), [(8, 0), (6, 2)])
def test_more_batch_jobs_than_the_queue_takes_of_a_user_are_refused(
    there: int, follow_ups: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(place / "bin", "squeue", f'echo "$@" > asked; seq {there}')
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    options = ("--machine", "andes", "--nodes", "2", "--account", "abc123")
    refused = _submit(*options, "--follow-ups", str(follow_ups))
    assert refused.exit_code == 2
    assert f"it takes 8 of one user at once, and {there} of yours wait or run" in refused.stderr
    assert "--partition=batch" in (place / "asked").read_text()
    assert read_record(place / "r") is None


def test_status_tells_of_the_batch_job_before_there_is_a_journal(place: Path) -> None:
    (place / "stay").touch()
    _submit("--follow-ups", "1")
    shown = _invoke("status", "r")
    said = f"batch job {_record().id} on here: running; 1 node, 2 slots for 10 min 00 s"
    assert shown.stdout == f"r has no journal yet: {said}; 1 follow-up to come\n"
    _invoke("cancel", "r")
    assert f"{_record().id} on here: cancelled; 1 node" in _invoke("status", "r").stdout


def test_on_a_copy_the_state_of_the_batch_job_is_unknown(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(place / "copy", Script().session(0).joined(1).close(2).events).path
    record = JobRecord(
        system="slurm",
        id="17",
        machine="andes",
        script="/gpfs/batch.sh",
        submitted=datetime(2026, 11, 20, tzinfo=UTC),
        nodes=64,
        slots=2016,
        walltime_s=129_600,
    )
    write_record(run, record)
    monkeypatch.setenv("PATH", str(place))
    shown = _invoke("status", "copy").stdout
    assert "17 on andes: state unknown here; 64 nodes, 2,016 slots for 1 d 12 h" in shown
    assert json.loads(_invoke("status", "copy", "--json").stdout)["batch_job"]["state"] is None


def test_a_job_that_cannot_be_recorded_is_cancelled(place: Path) -> None:
    (place / "stay").touch()
    run = RunDirectory(place / "r")
    run.create()
    run.lock.touch()
    (run.path / "job.toml.tmp").mkdir()
    shown = _submit()
    assert shown.exit_code == 3
    assert "job.toml': Is a directory" in shown.stderr
    assert not list(run.logs.glob("batch-*.code"))


def test_machines_may_be_in_a_directory_of_the_users(place: Path) -> None:
    assert _invoke("machines", "--machines", ".").stdout == "here  this machine, with stand-ins\n"
    shown = _invoke("machines", "--machines", ".", "show", "here")
    assert "this machine, with stand-ins" in shown.stdout
    shown = _submit("--machine", "here", "--machines", ".", "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    shown = _submit("--machine", "here", "--machines", "none")
    assert "cannot find machine 'here' in 'none': no machine's file is there" in shown.stderr


def test_the_machines_are_listed_and_explained() -> None:
    listed = _invoke("machines").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [
        *("andes", "frontier", "laptop", "perlmutter", "summit", "test-slurm"),
    ]
    shown = _invoke("machines", "show", "summit").stdout
    assert "44, of which 2 are kept back for the system" in shown
    assert "2h up to 45 nodes, 6h up to 91 nodes" in shown
    assert "did you mean 'andes'?" in _invoke("machines", "show", "anders").stderr
