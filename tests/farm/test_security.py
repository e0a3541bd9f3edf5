"""Nobody else on the machine can talk to a farm, or read what it writes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hpcflow.errors import RequestError
from hpcflow.farm.security import create_credentials, credentials_id, remove_credentials
from hpcflow.journal.directory import RunDirectory
from tests.batch.test_local import until
from tests.farm.intruder import OPEN
from tests.farm.site import Site

NOBODY = 65534
INTRUDER = Path(__file__).with_name("intruder.py")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")

DRIVER = """
import os, sys
from hpcflow import Farm, current_task

os.umask(0)

def work(number):
    (current_task().directory / "note").write_text("mine")
    print("worked", flush=True)
    return os.urandom(100_000)

with Farm(slots=2, workers=2, run=sys.argv[1]) as farm:
    farm.wait_for_slots()
    print(len(list(farm.map(work, range(4)))), flush=True)
    sys.stdin.readline()
"""


@dataclass(frozen=True)
class Pair:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, path: Path) -> str:
        pem = serialization.Encoding.PEM
        private = self.key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(self.certificate.public_bytes(pem) + private)
        return str(path)


def make_pair(name: str, *, by: Pair | None = None, ended: timedelta | None = None) -> Pair:
    """Return a pair that is signed by another or, as an authority, by itself."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - ended if ended else now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .sign(by.key if by else key, hashes.SHA256())
    )
    return Pair(key, certificate)


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a directory to which the way is open to everybody, unlike that of pytest."""
    path = Path(tempfile.mkdtemp(prefix="hpcflow-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def driver(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a driver to where its tasks are done and its farm is up."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "4\n"
        yield process
        process.communicate("\n", timeout=60)
    assert process.returncode == 0


def listeners(root: psutil.Process) -> list[str]:
    """Return where a process and all that it started listen."""
    return [
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for process in (root, *root.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def secret_of(run: Path) -> list[str]:
    """Return the lines of a session's private key."""
    pair = (run / "security" / "pair.pem").read_text()
    lines = pair.partition("PRIVATE KEY-----\n")[2].partition("-----END")[0].split()
    assert len(lines) > 1
    return lines


def intrude(run: Path, addresses: list[str], **pairs: str) -> dict[str, Any]:
    """Let another user try; return what came of it."""
    for pair in pairs.values():
        os.chown(pair, NOBODY, NOBODY)
    request = {"user": NOBODY, "run": str(run), "addresses": addresses, "pairs": pairs}
    answer = subprocess.run(
        [sys.executable, str(INTRUDER)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    assert found["user"] == NOBODY
    return found


@needs_root
def test_another_user_gets_nothing_from_a_farm_but_its_addresses(place: Path) -> None:
    foreign = make_pair("hpcflow", by=make_pair("hpcflow run"))
    with driver(place / "run") as process:
        addresses = listeners(psutil.Process(process.pid))
        own = shutil.copy(place / "run" / "security" / "pair.pem", place / "own.pem")
        found = intrude(
            place / "run", addresses, foreign=foreign.write(place / "foreign.pem"), own=str(own)
        )
    assert len(addresses) == 3, "a scheduler and two workers"
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    attempts = found["connections"]
    assert len(attempts) == 5 * len(addresses)
    let_in = {name for name, came_of_it in attempts.items() if came_of_it == OPEN}
    assert let_in == {f"{address} own" for address in addresses}, attempts
    assert (found["readable"], found["writable"]) == ([], False)


@needs_root
def test_an_expired_certificate_of_the_right_authority_is_refused(place: Path) -> None:
    """The processes are started on an authority of ours: that of a run forgets its key."""
    run = RunDirectory(place / "run")
    run.create()
    authority = make_pair("hpcflow run")
    valid = make_pair("hpcflow", by=authority)
    expired = make_pair("hpcflow", by=authority, ended=timedelta(minutes=1))
    pem = authority.certificate.public_bytes(serialization.Encoding.PEM)
    (run.security / "ca.pem").write_bytes(pem)
    valid.write(run.security / "pair.pem")
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "hpcflow.farm.process", "--directory", str(run.path)]
    command += ["--parent", str(reader)]
    worker = ["worker", "--name", "w", "--resources", '[{"cores": [0]}]']
    with (
        (place / "log").open("w") as log,
        subprocess.Popen([*command, "scheduler"], pass_fds=(reader,), stderr=log),
        subprocess.Popen([*command, *worker], pass_fds=(reader,), stderr=log),
    ):
        try:
            until(lambda: "Registered to" in (place / "log").read_text())
            addresses = listeners(psutil.Process())
            found = intrude(
                run.path,
                addresses,
                valid=valid.write(place / "valid.pem"),
                expired=expired.write(place / "expired.pem"),
            )
        finally:
            os.close(writer)
            os.close(reader)
    assert len(addresses) == 2, "a scheduler and a worker"
    attempts = found["connections"]
    let_in = {name for name, came_of_it in attempts.items() if came_of_it == OPEN}
    assert let_in == {f"{address} valid" for address in addresses}, attempts


@pytest.mark.parametrize("made_before", [False, True])
def test_files_of_a_run_are_private_whatever_the_umask(made_before: bool, place: Path) -> None:
    run = place / "run"
    if made_before:
        run.mkdir()
        run.chmod(0o755)
    with driver(run):
        # In tasks/, which is closed, files have the modes that tasks give them.
        seen = [path for path in run.rglob("*") if run / "tasks" not in path.parents]
        open_ones = [
            f"{stat.filemode(path.stat().st_mode)} {path.relative_to(run)}"
            for path in seen
            if path.stat().st_mode & 0o077
        ]
        if not made_before:
            assert run.stat().st_mode & 0o077 == 0
    assert len(seen) > 10
    assert open_ones == []


def test_no_secret_is_in_a_command_line_the_journal_or_a_log(place: Path) -> None:
    run = place / "run"
    with driver(run) as process:
        key = secret_of(run)
        root = psutil.Process(process.pid)
        everyone = [root, *root.children(recursive=True)]
        told = [word for each in everyone for word in (*each.cmdline(), *each.environ().values())]
        assert len(everyone) > 3
    assert list((run / "security").iterdir()) == []
    assert not (run / "scheduler.json").exists()
    written = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    for secret in key:
        assert not any(secret in word for word in told)
        assert not any(secret.encode() in content for content in written)


def test_no_secret_of_a_batch_job_is_in_a_command_line_a_file_or_a_log(place: Path) -> None:
    site = Site(place)
    with site.start("scheduler") as scheduler, site.start("worker") as worker:
        assert site.wait(slots=1).returncode == 0
        said = site.drive()
        key = secret_of(site.run.path)
        everyone = [
            process
            for root in map(psutil.Process, (scheduler.pid, worker.pid))
            for process in (root, *root.children(recursive=True))
        ]
        told = [word for each in everyone for word in (*each.cmdline(), *each.environ().values())]
        written = [
            path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and path.parent != site.run.security
        ]
    assert len(everyone) >= 2
    assert any(b"tls://" in content for content in written), "scheduler.json is among them"
    for secret in key:
        assert secret not in said
        assert not any(secret in word for word in told)
        assert not any(secret.encode() in content for content in written)
    assert list(site.run.security.iterdir()) == []
    assert not site.run.scheduler_file().exists()


def test_keys_are_not_written_where_somebody_could_replace_them(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "security").symlink_to(place / "elsewhere")
    with pytest.raises(RequestError, match="place of a session's keys: it is a symbolic link"):
        create_credentials(place / "security")
    assert list((place / "elsewhere").iterdir()) == []


def test_a_session_that_ends_leaves_the_keys_of_the_next_one(place: Path) -> None:
    for _ in range(30):
        create_credentials(place)
        ended = credentials_id(place)
        following = threading.Thread(target=create_credentials, args=(place,))
        following.start()
        while following.is_alive():
            remove_credentials(place, ended)
        assert sorted(path.name for path in place.iterdir()) == ["ca.pem", "pair.pem"]
        remove_credentials(place, credentials_id(place))
        assert list(place.iterdir()) == []
