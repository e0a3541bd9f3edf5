"""Dask's settings: data with reasons, fitted to the farm's size, and never above the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dask
import pytest
from dask.utils import parse_timedelta
from distributed.scheduler import heartbeat_interval

from hpcflow.batch.machine import MACHINES
from hpcflow.farm.tuning import SETTINGS, inherited, settings, tuned

FILES = sorted(SETTINGS.glob("*.yaml"))
TTL = "distributed.scheduler.worker-ttl"
CONNECT = "distributed.comm.timeouts.connect"

REPORT = """
import copy, json, sys
import dask
from hpcflow import Farm

dask.config.set({"distributed.client.heartbeat": "11s"})
dask.config.set({"distributed.admin.tick.interval": "50ms"})
before = copy.deepcopy(dask.config.config)
keys = sys.argv[1:]

def values():
    return {key: dask.config.get(key) for key in keys}

if __name__ == "__main__":
    with Farm(slots=1) as farm:
        farm.wait_for_slots()
        print(json.dumps({
            "scheduler": farm.client.run_on_scheduler(values),
            "worker": next(iter(farm.client.run(values).values())),
            "heartbeat_ms": farm.client._periodic_callbacks["heartbeat"].callback_time,
            "kept": dask.config.config == before,
        }))
"""


def test_settings_and_machines_come_with_the_package() -> None:
    """`hpcflow/configs` is a link to `configs`; a wheel has the files that are declared."""
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    declared = project["tool"]["setuptools"]["package-data"]["hpcflow"]
    package = root / "hpcflow"
    files = [*FILES, *MACHINES.glob("*.toml")]
    assert len(files) > len(FILES) == 2
    for file in files:
        assert any(file.relative_to(package).match(pattern) for pattern in declared), file


@pytest.mark.parametrize("workers", [1, 1000])
def test_every_setting_is_one_that_dask_has(workers: int) -> None:
    unknown = object()
    defaults = dask.config.merge(*dask.config.defaults)
    known = {key: dask.config.get(key, unknown, config=defaults) for key in tuned(workers)}
    assert [key for key, value in known.items() if value is unknown] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_stands_under_its_reason(path: Path) -> None:
    has_reason: dict[int, bool] = {}
    before = ""
    for line in path.read_text().splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            depth = len(line) - len(line.lstrip())
            above = {at: has for at, has in has_reason.items() if at < depth}
            has_reason = above | {depth: before.startswith("#")}
            assert text.endswith(":") or any(has_reason.values()), f"{text} has no reason"
        before = text


@pytest.mark.parametrize("workers", [1, 10, 16, 17, 49, 200, 1000, 9000, 75_000])
def test_a_worker_may_miss_ten_heartbeats_however_many_there_are(workers: int) -> None:
    ttl_s = parse_timedelta(tuned(workers)[TTL])
    assert 10 * heartbeat_interval(workers) <= ttl_s < 10 * heartbeat_interval(workers) + 120


def test_the_last_of_a_thousand_workers_may_wait_ten_times_as_long_as_the_storm_was_measured() -> (
    None
):
    """1,000 workers joined in 11.1 s."""
    assert parse_timedelta(tuned(1000)[CONNECT]) > 111


def test_only_a_large_farm_has_the_settings_of_a_large_one() -> None:
    backlog = "distributed.comm.socket-backlog"
    assert [backlog in tuned(workers) for workers in (1, 16, 17, 1000)] == [
        False,
        False,
        True,
        True,
    ]


def test_what_a_driver_has_set_is_not_set_again_and_reaches_its_processes() -> None:
    assert settings(4)[CONNECT] == tuned(4)[CONNECT]
    with dask.config.set({CONNECT: "7s"}):
        assert CONNECT not in settings(4)
        assert inherited(4) == {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "'7s'"}
    assert inherited(4) == {}


def test_the_users_own_configuration_wins_in_every_process(tmp_path: Path) -> None:
    """A file, variables (one of them says what is Dask's default) and the driver's own Python."""
    (tmp_path / "mine.yaml").write_text("distributed:\n  scheduler:\n    worker-ttl: 77s\n")
    (tmp_path / "driver.py").write_text(REPORT)
    environment = {
        **os.environ,
        "DASK_CONFIG": str(tmp_path),
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "33s",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
    }
    wanted = {
        TTL: "77s",
        "distributed.comm.timeouts.tcp": "33s",
        "distributed.scheduler.allowed-failures": 3,
        "distributed.admin.tick.interval": "50ms",
        "distributed.client.heartbeat": "11s",
        CONNECT: "60s",  # nobody but hpcflow sets this
    }
    done = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), *wanted],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["scheduler"] == wanted
    assert report["worker"] == wanted
    assert report["heartbeat_ms"] == 11_000
    assert report["kept"], "a driver's configuration is its own"
