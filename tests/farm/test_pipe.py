"""Frames on real sockets, plain and under the farm's TLS, and lanes on Dask's real connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from distributed import Security
from distributed.comm.core import Comm, connect, listen

from hpcflow.farm import lane as lanes
from hpcflow.farm.lane import Lane, Message
from hpcflow.farm.pipe import Frame, Pipe
from hpcflow.farm.security import create_credentials, load_security

HEAD = 8
RECORD, IN_PLACE = 1 << 14, 1 << 16
WITHIN_S = 30.0
Pair = tuple[socket.socket, socket.socket]


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory) -> Security:
    directory = tmp_path_factory.mktemp("security")
    directory.chmod(0o700)
    create_credentials(directory)
    return load_security(directory)


@pytest.fixture(params=["plain", "TLS"])
def pair(request: pytest.FixtureRequest, security: Security) -> Iterator[Pair]:
    """Give both ends of a connection, which block."""
    pair = socket.socketpair()
    if request.param == "TLS":
        client: ssl.SSLContext = security.get_connection_args("client")["ssl_context"]
        worker: ssl.SSLContext = security.get_listen_args("worker")["ssl_context"]
        with ThreadPoolExecutor() as threads:
            shaking = threads.submit(worker.wrap_socket, pair[1], server_side=True)
            pair = client.wrap_socket(pair[0]), shaking.result()
    yield pair
    for end in pair:
        end.close()


def head(size: int) -> bytes:
    return size.to_bytes(HEAD, "little")


def pipe_on(sock: socket.socket) -> Pipe:
    sock.setblocking(False)
    return Pipe(sock, head_bytes=HEAD)


class Reader:
    """Takes what comes by a pipe, or by a lane."""

    def __init__(self, run: Callable[[Callable[[list[Any]], None]], Any]) -> None:
        self.found: list[Any] = []
        self._news = asyncio.Event()
        self._running = asyncio.ensure_future(run(self.take))

    def take(self, found: list[Any]) -> None:
        self.found += [bytes(each)[HEAD:] if isinstance(each, Frame) else each for each in found]
        self._news.set()

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(WITHIN_S):
            while len(self.found) < count:
                self._news.clear()
                await self._news.wait()
        return self.found

    async def end(self) -> str:
        async with asyncio.timeout(WITHIN_S):
            reason: str = await self._running
            return reason


@on_a_loop
async def test_a_frame_that_is_cut_at_any_byte_arrives_whole(pair: Pair) -> None:
    ours, theirs = pair
    bodies = [b"", b"one", b"and another"]
    stream = b"".join(head(len(body)) + body for body in bodies)
    reader = Reader(pipe_on(ours).run)
    for cut in range(1, len(stream)):
        theirs.sendall(stream[:cut])
        whole = sum(len(b"".join(bodies[:n])) + n * HEAD <= cut for n in (1, 2, 3))
        assert len(await reader.until(whole)) == whole
        theirs.sendall(stream[cut:])
        assert await reader.until(3) == bodies
        reader.found.clear()
    theirs.close()
    assert await reader.end() == "its connection closed"


@pytest.mark.parametrize("size", [RECORD - HEAD, IN_PLACE - HEAD, IN_PLACE, 3 * IN_PLACE + 1])
@on_a_loop
async def test_frames_of_every_size_arrive_whole_among_small_ones(pair: Pair, size: int) -> None:
    bodies = [b"small", bytes(range(256)) * (size // 256) + bytes(size % 256), b"", b"smaller"] * 3
    writer, reader = pipe_on(pair[0]), Reader(pipe_on(pair[1]).run)
    writing = Reader(writer.run)
    for body in bodies:
        writer.write(head(len(body)), body)
    assert await reader.until(len(bodies)) == bodies
    pair[1].shutdown(socket.SHUT_RDWR)
    await asyncio.gather(reader.end(), writing.end())


@on_a_loop
async def test_both_ends_send_more_than_the_sockets_hold_at_once(pair: Pair) -> None:
    pipes = [pipe_on(end) for end in pair]
    bodies = [bytes([number]) * (12 << 20) for number in (1, 2)]
    for pipe, body in zip(pipes, bodies, strict=True):
        pipe.write(head(len(body)), body)  # before it runs
        pipe.write(head(3), b"end")
    readers = [Reader(pipe.run) for pipe in pipes]
    assert await readers[0].until(2) == [bodies[1], b"end"]
    assert await readers[1].until(2) == [bodies[0], b"end"]
    for pipe, reader in zip(pipes, readers, strict=True):
        pipe.end("enough")
        assert await reader.end() == "enough"


@on_a_loop
async def test_an_end_that_closes_within_a_frame_has_said_what_was_whole(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(head(5) + b"whole" + head(1 << 20) + b"not whole")
    theirs.close()
    reader = Reader(pipe_on(ours).run)
    assert (await reader.end()).startswith("its connection closed")
    assert reader.found == [b"whole"]


@on_a_loop
async def test_what_was_said_before_the_end_is_read_though_nothing_can_be_sent() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(head(5) + b"first" + head(4) + b"last")
        theirs.close()
        pipe = pipe_on(ours)
        pipe.write(head(1), b"x")
        pipe.write(head(1), b"x")
        reader = Reader(pipe.run)
        assert await reader.end() == "its connection closed ([Errno 32] Broken pipe)"
    assert reader.found == [b"first", b"last"]


@on_a_loop
async def test_what_the_receiver_raises_ends_the_pipe_and_is_raised(pair: Pair) -> None:
    def refuse(_: list[Frame]) -> None:
        raise ValueError("not this")

    running = asyncio.ensure_future(pipe_on(pair[0]).run(refuse))
    await asyncio.sleep(0)
    pair[1].sendall(head(0))
    with pytest.raises(ValueError, match="not this"):
        await asyncio.wait_for(running, WITHIN_S)


# -- lanes


Ends = tuple[Comm, Comm]


@pytest.fixture(params=["tcp", "tls"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextlib.asynccontextmanager
async def connected(protocol: str, security: Security) -> AsyncIterator[Ends]:
    """Give the client's and the worker's end of one of Dask's connections."""
    accepted: asyncio.Queue[Comm] = asyncio.Queue()
    told: dict[str, Any] = {}
    asked: dict[str, Any] = {}
    if protocol == "tls":
        told, asked = (security.get_listen_args("worker"), security.get_connection_args("client"))
    listener = await listen(f"{protocol}://127.0.0.1", accepted.put, **told)
    client = await connect(listener.contact_address, **asked)
    worker = await accepted.get()
    try:
        yield client, worker
    finally:
        client.abort()
        worker.abort()
        listener.stop()


@on_a_loop
async def test_a_lane_gets_all_that_was_sent_before_it_was_taken_over(
    protocol: str, security: Security
) -> None:
    said: list[Message] = [("one", 1), ("many", bytes(300_000)), ("last", None)]
    async with connected(protocol, security) as (client, worker):
        await client.write({"op": "lane"})
        ours = await Lane.take_over(client, patience_s=60)
        for message in said:
            ours.send(message)
        answers = Reader(ours.run)
        await asyncio.sleep(0.1)  # so that it lies in front of the message that Dask reads
        assert await worker.read() == {"op": "lane"}
        theirs = await Lane.take_over(worker, patience_s=60)
        theirs.send(("answer",))
        reader = Reader(theirs.run)
        assert await reader.until(3) == said
        assert await answers.until(1) == [("answer",)]
        theirs.close()
        await asyncio.gather(reader.end(), answers.end())


@on_a_loop
async def test_what_dask_has_not_sent_yet_goes_before_the_lane(
    protocol: str, security: Security
) -> None:
    large = bytes(20 << 20)
    async with connected(protocol, security) as (client, worker):
        await client.write({"op": large})
        taking = asyncio.ensure_future(Lane.take_over(client, patience_s=60))
        assert await worker.read() == {"op": large}
        ours, theirs = await taking, await Lane.take_over(worker, patience_s=60)
        running, reader = Reader(ours.run), Reader(theirs.run)
        ours.put(("first",))
        ours.put(("second",))
        ours.flush()
        assert await reader.until(2) == [("first",), ("second",)]
        ours.close()
        await asyncio.gather(reader.end(), running.end())


@on_a_loop
async def test_an_end_that_goes_silent_is_taken_for_dead(
    protocol: str, security: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "BEAT_S", 0.05)
    async with connected(protocol, security) as (client, worker):
        ours = await Lane.take_over(client, patience_s=0.5)
        theirs = await Lane.take_over(worker, patience_s=0.5)
        reader, other = Reader(ours.run), Reader(theirs.run)
        await asyncio.sleep(1.0)
        theirs.send(("still here",))
        assert await reader.until(1) == [("still here",)]
        theirs._timer.cancel()
        assert await reader.end() == "it was silent for 0.5 s"
        await other.end()


@on_a_loop
async def test_a_connection_that_dask_closes_ends_the_lane_and_leaves_no_watch(
    protocol: str, security: Security
) -> None:
    async with connected(protocol, security) as (client, worker):
        ours = await Lane.take_over(client, patience_s=60)
        assert client.stream is not None  # type: ignore[attr-defined]
        io_loop = client.stream.io_loop  # type: ignore[attr-defined]
        number = client.stream.socket.fileno()  # type: ignore[attr-defined]
        reader = Reader(ours.run)
        await asyncio.sleep(0)
        assert number in io_loop.handlers
        client.abort()
        assert number not in io_loop.handlers
        assert await reader.end() == "its connection closed"
        assert await ours.run(reader.take) == "its connection closed"
        await worker.close()
