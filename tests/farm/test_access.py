"""Dask's dashboards are off unless they are asked for, and so is plain TCP; both are announced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import websocket_connect

from hpcflow.farm.dashboard import tunnel
from hpcflow.journal.directory import RunDirectory
from hpcflow.journal.scheduler_file import SchedulerFile, read_scheduler_file
from tests.batch.test_local import until
from tests.farm.site import Site
from tests.farm.test_security import listeners

DRIVER = """
import json, sys
from hpcflow import Farm

with Farm(slots=2, workers=2, run=sys.argv[1], **json.loads(sys.argv[2])) as farm:
    farm.wait_for_slots()
    print(sum(outcome.result() for outcome in farm.map(abs, [-1, 2])), flush=True)
    sys.stdin.readline()
"""
WARNING = "is insecure: whoever can reach that address can run code as you"


@contextlib.contextmanager
def farm(run: Path, **options: bool) -> Iterator[subprocess.Popen[str]]:
    with (
        run.with_suffix(".err").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(run), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        yield process
        process.communicate("\n", timeout=60)
    assert process.returncode == 0


def scheduler_of(run: Path) -> SchedulerFile:
    content = read_scheduler_file(RunDirectory(run))
    assert content is not None
    return content


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310  it is ours, and http
        page: str = answer.read().decode()
        return page


def test_dashboards_that_are_asked_for_are_on_loopback_and_the_way_there_is_told(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    with farm(run, dashboard=True) as process:
        scheduler = scheduler_of(run)
        assert scheduler.dashboard is not None
        assert "Dask" in fetch(f"http://{scheduler.dashboard}/status")
        addresses = listeners(psutil.Process(process.pid))
        status = subprocess.run(
            [sys.executable, "-m", "hpcflow", "status", str(run), "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
    port = scheduler.dashboard.rpartition(":")[2]
    user, node = psutil.Process().username(), socket.gethostname()
    line = f"ssh -N -L {port}:127.0.0.1:{port} {user}@{node}"
    assert len(addresses) == 2 * 3, "TLS and HTTP of a scheduler and two workers"
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert line in run.with_suffix(".err").read_text()
    assert json.loads(status.stdout)["dashboards"] == [
        {"node": node, "address": scheduler.dashboard, "tunnel": line}
    ]


def test_nothing_is_said_and_nothing_is_served_unless_it_is_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with farm(run) as process:
        scheduler = scheduler_of(run)
        addresses = listeners(psutil.Process(process.pid))
    assert scheduler.address.startswith("tls://")
    assert scheduler.dashboard is None
    assert len(addresses) == 3
    assert run.with_suffix(".err").read_text() == ""


def test_plain_tcp_must_be_asked_for_and_warns_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with farm(run, insecure=True):
        assert scheduler_of(run).address.startswith("tcp://127.0.0.1:")
    said = run.with_suffix(".err").read_text()
    assert len(re.findall(WARNING, said)) == 1
    assert len(said.splitlines()) == 1


def test_the_scheduler_of_a_batch_job_says_in_its_log_how_to_see_its_dashboard(
    tmp_path: Path,
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    command = [sys.executable, "-m", "hpcflow", "scheduler", "--run", str(run)]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, "--interface", "lo", "--dashboard", "--insecure"],
            env={**os.environ, "SLURM_SUBMIT_HOST": "login7"},
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            until(lambda: "Dask's dashboard: http://localhost:" in log.read_text())
        finally:
            process.terminate()
    said = log.read_text()
    assert re.search(r"ssh -N -L (\d+):127\.0\.0\.1:\1 -J login7 \S+@", said)
    assert len(re.findall(WARNING, said)) == 1


def test_a_tunnel_goes_straight_to_a_node_that_is_itself_where_the_job_was_submitted() -> None:
    assert "-J" not in tunnel(1, node="n1", through="n1")
    assert "-J" not in tunnel(1, node="n1", through=None)


@pytest.mark.parametrize("flags", [[], ["--dashboard"], ["--insecure"]])
def test_a_batch_script_asks_of_its_schedulers_what_was_asked_of_submit(
    flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "driver.py").touch()
    submit = [sys.executable, "-m", "hpcflow", "submit", "driver.py", "--machine", "laptop"]
    script = subprocess.run(
        [*submit, "--walltime", "10m", "--dry-run", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    starts = [line.split() for line in script.splitlines() if "hpcflow scheduler --" in line]
    assert len(starts) == 1
    assert [word for word in starts[0] if word in {"--dashboard", "--insecure"}] == flags
    assert script.count("--insecure") + script.count("--dashboard") == len(flags)


def test_workers_and_driver_of_a_batch_job_do_without_tls_where_its_scheduler_does(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    with site.start("scheduler", "--insecure"), site.start("worker"):
        assert site.wait(slots=1).returncode == 0
        assert site.drive() == ""
        assert scheduler_of(site.run.path).address.startswith("tcp://")
    assert len(re.findall(WARNING, site.log("scheduler"))) == 1


def test_no_page_from_elsewhere_reads_a_dashboard(tmp_path: Path) -> None:
    """Pages ask by websockets, which browsers open to any host and mark with their origin."""

    async def ask(origin: str, port: str) -> str:
        head = {"Origin": origin, "Sec-WebSocket-Protocol": "bokeh, none"}
        request = HTTPRequest(f"ws://127.0.0.1:{port}/status/ws", headers=head)
        try:
            (await websocket_connect(request)).close()
        except HTTPError as error:
            return str(error.code)
        return "open"

    async def ask_all(port: str) -> list[str]:
        hosts = [f"localhost:{port}", "localhost:1", "elsewhere.example"]
        return [await ask(f"http://{host}", port) for host in hosts]

    run = tmp_path / "run"
    with farm(run, dashboard=True):
        port = str(scheduler_of(run).dashboard).rpartition(":")[2]
        answers = asyncio.run(ask_all(port))
    assert answers == ["open", "403", "403"]
