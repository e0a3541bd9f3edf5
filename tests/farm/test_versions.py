"""Processes of another installation are refused when they join, and both are named."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed
import msgspec
import pytest
from distributed.comm.core import connect

import hpcflow
from hpcflow.farm.rendezvous import scheduler_address
from hpcflow.farm.security import load_security
from hpcflow.farm.versions import mismatch, own_versions
from tests.batch.test_local import until
from tests.farm.site import Site

OURS = own_versions()
FARM_ERROR = 3
"""Exit code of a command whose farm fails."""
PACKAGE = Path(hpcflow.__file__).parent
SILENT = {
    "farm/servers.py": {
        "startup_information={_VERSIONS: lambda _: versions}": "startup_information={}",
        "if reason is None:": "if True:",
    },
    "farm/slots.py": {
        "if refusal is not None:\n            lane =": "if False:\n            lane =",
        "            versions=own_versions(),\n": "",
    },
    "farm/wire.py": {
        '    versions: Versions\n    """The worker\'s."""\n': "",
        '    versions: Versions\n    """The driver\'s."""\n': "",
    },
    "farm/session.py": {"            versions=own_versions(),\n": ""},
}
"""What makes of hpcflow one that has never heard of versions."""


def edit(package: Path, changes: dict[str, dict[str, str]]) -> None:
    for name, replacements in changes.items():
        text = (package / name).read_text()
        for old, new in replacements.items():
            assert text.count(old) == 1, f"{name} has changed: {old}"
            text = text.replace(old, new)
        (package / name).write_text(text)


@pytest.fixture
def install(tmp_path: Path) -> Callable[[dict[str, dict[str, str]]], str]:
    """Return a function that installs another hpcflow, and returns its PYTHONPATH."""

    def make(changes: dict[str, dict[str, str]]) -> str:
        place = tmp_path / "other"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, place / "hpcflow", ignore=ignored)
        edit(place / "hpcflow", changes)
        return str(place)

    return make


NEWER = {"__init__.py": {f'__version__ = "{hpcflow.__version__}"': '__version__ = "9.9.9"'}}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_worker_with_another_hpcflow_is_refused_and_the_next_one_is_taken(
    site: Site, install: Callable[..., str]
) -> None:
    with site.start("scheduler") as scheduler:
        with site.start("worker", PYTHONPATH=install(NEWER)) as worker:
            waited = site.wait(slots=len(os.sched_getaffinity(0)))
            assert worker.wait(timeout=60) == FARM_ERROR
        reason = f"has hpcflow 9.9.9, and its scheduler has hpcflow {hpcflow.__version__}"
        assert reason in site.drive(), "a driver that waits for its slots is told"
        assert waited.returncode == FARM_ERROR
        assert reason in waited.stderr
        assert reason in site.log("worker").splitlines()[-1]
        with site.start("worker"):
            deadline = time.monotonic() + 60  # until it has joined, the refused one is remembered
            while site.wait(slots=1).returncode != 0:
                assert time.monotonic() < deadline, "the next worker was not taken"
        assert scheduler.poll() is None


def test_a_worker_with_another_distributed_is_refused(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "other" / "distributed"
    original = Path(distributed.__file__).parent
    shutil.copytree(original, copy, copy_function=os.symlink, symlinks=True)
    (copy / "_version.py").unlink()
    text = (original / "_version.py").read_text().replace(OURS.distributed, "1999.1.0")
    (copy / "_version.py").write_text(text)
    with site.start("scheduler"), site.start("worker", PYTHONPATH=str(copy.parent)) as worker:
        assert worker.wait(timeout=60) == FARM_ERROR
    said = site.log("worker").splitlines()[-1]
    assert f"has distributed 1999.1.0, and its scheduler has distributed {OURS.distributed}" in said


def test_a_worker_that_has_never_heard_of_versions_is_refused(
    site: Site, install: Callable[..., str]
) -> None:
    with site.start("scheduler"), site.start("worker", PYTHONPATH=install(SILENT)) as worker:
        assert worker.wait(timeout=60) == FARM_ERROR
    assert "another hpcflow, which does not say its versions" in site.log("worker").splitlines()[-1]


def test_a_driver_with_another_hpcflow_is_told_at_once(
    site: Site, install: Callable[..., str]
) -> None:
    with site.start("scheduler"), site.start("worker"):
        assert site.wait(slots=1).returncode == 0
        said = site.drive(PYTHONPATH=install(NEWER))
        assert f"it has hpcflow {hpcflow.__version__}, and this process has hpcflow 9.9.9" in said
        assert site.drive() == "", "a driver like them has its slots"


OLD_SCHEDULER = {
    "farm/process.py": {
        "        versions=msgspec.to_builtins(own_versions()),\n": "",
        "if scheduler.versions is None:": "if False:",
    },
    "farm/servers.py": {
        'self.handlers["hpcflow_refusals"] = self.refusals': "pass",
        "if reason is None:": "if True:",
    },
}


def test_a_scheduler_that_refuses_nobody_gets_no_worker_and_no_driver_of_ours(
    site: Site, install: Callable[..., str]
) -> None:
    reason = "has another hpcflow, which does not say its versions"
    with site.start("scheduler", PYTHONPATH=install(OLD_SCHEDULER)):
        with site.start("worker") as worker:
            assert worker.wait(timeout=60) == FARM_ERROR
        assert f"its scheduler {reason}" in site.log("worker").splitlines()[-1]
        assert site.wait(slots=1).returncode == FARM_ERROR
        assert f"cannot use the batch job's scheduler: it {reason}" in site.drive()


@pytest.mark.parametrize("silent", ["driver", "workers"])
def test_a_driver_and_workers_of_which_one_has_never_heard_of_versions_do_not_work_together(
    silent: str, site: Site, install: Callable[..., str]
) -> None:
    old = {"PYTHONPATH": install(SILENT)}
    theirs, ours = ({}, old) if silent == "driver" else (old, {})
    with site.start("scheduler", **theirs), site.start("worker", **theirs):
        until(lambda: "Registered to" in site.log("worker"), within_s=60)
        said = site.drive(**ours)
    assert "another hpcflow, which does not say its versions" in said


def test_a_worker_of_another_python_is_told_both_versions(site: Site) -> None:
    """The worker is played by a connection that registers: there is one Python here."""

    async def register() -> dict[str, Any]:
        security = load_security(site.run.security).get_connection_args("worker")
        address = scheduler_address(site.run, job=None)
        comm = await connect(address, **security)
        theirs = msgspec.structs.replace(OURS, python="2.7")
        extra = {"hpcflow": msgspec.to_builtins(theirs)}
        await comm.write({"op": "register-worker", "reply": False, "name": "old", "extra": extra})
        answer: dict[str, Any] = await comm.read()
        comm.abort()
        return answer

    with site.start("scheduler"):
        until(lambda: scheduler_address(site.run, job=None) is not None)
        answer = asyncio.run(register())
    assert answer["status"] == "error"
    assert f"it has Python 2.7, and its scheduler has Python {OURS.python}" in answer["message"]


@pytest.mark.parametrize("name", ["python", "distributed", "hpcflow"])
def test_each_version_counts(name: str) -> None:
    other = msgspec.structs.replace(OURS, **{name: "0.0"})
    assert mismatch(OURS, OURS, who="w", peer_name="p") is None
    reason = mismatch(other, OURS, who="w", peer_name="p")
    assert reason is not None
    assert f"{name} 0.0" in reason.lower()
    assert f"{name} {getattr(OURS, name)}" in reason.lower()


def test_two_that_say_nothing_are_no_match() -> None:
    assert mismatch(None, None, who="w", peer_name="p") is not None
