"""Somebody else on the machine: tries to talk to a farm, and to read its files, as another user.

    python tests/farm/intruder.py    with a request as JSON on standard input

Prints what came of each attempt as JSON. The user changes after the imports, since the interpreter
may lie where root alone can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.comm.core import connect

OPEN = "open"
"""What stands for an attempt that was let in."""


def main() -> None:
    request = json.load(sys.stdin)
    os.setgroups([])
    os.setresgid(request["user"], request["user"], request["user"])
    os.setresuid(request["user"], request["user"], request["user"])
    answer = {
        "user": os.getuid(),
        "connections": asyncio.run(_knock(request)),
        "readable": list(_read(Path(request["run"]))),
        "writable": os.access(request["run"], os.W_OK),
    }
    json.dump(answer, sys.stdout)


async def _knock(request: dict[str, Any]) -> dict[str, str]:
    """Try every address by every means; the answers are named `address means`."""
    attempts = {}
    for address in request["addresses"]:
        tls, tcp = f"tls://{address}", f"tcp://{address}"
        attempts[f"{address} http"] = _ask_for_a_page(address)
        attempts[f"{address} plain"] = _shake_hands(tcp, {})
        attempts[f"{address} no certificate"] = _shake_hands(tls, {"ssl_context": _trusting()})
        for means, pair in request["pairs"].items():
            attempts[f"{address} {means}"] = _shake_hands(tls, {"ssl_context": _trusting(pair)})
    return dict(zip(attempts, await asyncio.gather(*attempts.values()), strict=True))


def _trusting(pair: str | None = None) -> ssl.SSLContext:
    """Return settings that take any server, and show the certificate in a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair)
    return context


async def _shake_hands(address: str, arguments: dict[str, Any]) -> str:
    """Open a connection as Dask's own processes do, and ask who is there."""
    try:
        comm = await connect(address, timeout=5, require_encryption=False, **arguments)
        await comm.write({"op": "identity", "reply": True})
        await asyncio.wait_for(comm.read(), 5)
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    comm.abort()
    return OPEN


async def _ask_for_a_page(address: str) -> str:
    host, port = address.rsplit(":", 1)
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: farm\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(4096), 5)
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    writer.close()
    return OPEN if b"HTTP" in answer else f"answered {answer!r}"


def _read(directory: Path) -> Iterator[str]:
    """Yield what can be read of a directory: its listing, and files whose names are well known."""
    with contextlib.suppress(PermissionError):
        yield from map(str, directory.iterdir())
    for name in ("security/pair.pem", "security/ca.pem", "journal.jsonl", "scheduler.json"):
        with contextlib.suppress(PermissionError):
            yield (directory / name).read_text()


if __name__ == "__main__":
    main()
