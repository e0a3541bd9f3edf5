"""Hosts with names and addresses of their own on this machine: network namespaces and a switch."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERFACE = "eth0"
"""What each host calls its way to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Hosts on one switch. Nothing of it is seen outside its namespaces."""

    prefix: str
    """Begins the names of the namespaces, and no other's."""

    def start(
        self, host: str, *command: str | Path, log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host; the process that is returned is the program's."""
        rename = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host)
        with log.open("ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._namespace(host), *rename, *map(str, command)],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def cut(self, host: str) -> None:
        """Take a host's port on the switch down: whatever it and the others send is lost."""
        self._ip("switch", "link", "set", host, "down")

    def heal(self, host: str) -> None:
        """Take the port up again."""
        self._ip("switch", "link", "set", host, "up")

    def address(self, number: int) -> str:
        """Return the address of the host that was named `number` in order, from 0."""
        return f"10.0.0.{number + 1}"

    # -- how it is made

    def make(self, hosts: Sequence[str]) -> None:
        """Connect the hosts to the switch."""
        self._add("switch")
        self._ip("switch", "link", "add", "bridge", "type", "bridge")
        self._ip("switch", "link", "set", "bridge", "up")
        for number, host in enumerate(hosts):
            self._add(host)
            peer = ("peer", "name", host, "netns", self._namespace("switch"))
            self._ip(host, "link", "add", INTERFACE, "type", "veth", *peer)
            self._ip(host, "address", "add", f"{self.address(number)}/24", "dev", INTERFACE)
            self._ip(host, "link", "set", INTERFACE, "up")
            self._ip(host, "link", "set", "lo", "up")
            self._ip("switch", "link", "set", host, "master", "bridge", "up")

    def remove(self, hosts: Sequence[str]) -> None:
        """Remove what `make` has made, however far it has come."""
        names = {self._namespace(each) for each in ("switch", *hosts)}
        listed = subprocess.check_output(["ip", "netns", "list"], text=True)
        for name in names & {line.split()[0] for line in listed.splitlines()}:
            _call("ip", "netns", "delete", name)

    def _add(self, name: str) -> None:
        _call("ip", "netns", "add", self._namespace(name))

    def _ip(self, name: str, *arguments: str) -> None:
        _call("ip", "-netns", self._namespace(name), *arguments)

    def _namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"


@contextlib.contextmanager
def network(*hosts: str) -> Iterator[Network]:
    """Make a network of hosts, and remove it.

    Raises
    ------
    OSError
        If this machine does not let us, or has no `ip`.
    """
    made = Network(prefix=f"hpcflow-{uuid.uuid4().hex[:8]}")
    try:
        made.make(hosts)
        yield made
    finally:
        made.remove(hosts)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
