"""Back-pressure, server-sent events and tunnels: what flows through stays bounded and unbuffered."""

import asyncio
import base64
import hashlib
import os
import select
import threading

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from harness import Client, cluster, configuration, ok, patience, until

MIB = 1 << 20


@pytest.mark.slow
def test_slow_reader_bounds_memory(pair):
    """200 MB wait for a client that does not read: weir keeps little and the upstream is paused."""
    block, total, sent = os.urandom(MIB), 200, []
    stalled = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (total * MIB))
        for number in range(total):
            if not select.select([], [connection.sock], [], 1)[1]:
                stalled.set()
            connection.send(block)
            sent.append(number)
        stalled.set()
        connection.wait_closed()

    running, _ = pair(handle=handle)
    before = running.resident
    with Client(running.edge, seconds=60, receive_buffer=65536) as client:
        client.request()
        assert stalled.wait(patience(30))
        assert len(sent) < 60, "the kernel's buffers and weir's watermark hold the rest back"
        assert running.resident - before < 30 * MIB
        response = client.read(keep=False)
        assert running.resident - before < 30 * MIB
    assert (response.length, response.digest) == (total * MIB, hashlib.sha256(block * total).hexdigest())


@pytest.mark.slow
def test_slow_upstream_bounds_memory(pair):
    """A client that uploads fast is paused while the upstream does not read."""
    block, total, go = os.urandom(MIB), 100, threading.Event()
    digest, sent = hashlib.sha256(), []

    def handle(connection):
        connection.recording = False
        request = connection.read_head()
        assert go.wait(patience(60))
        connection.read_body(request, digest.update)
        connection.send(ok(digest.hexdigest().encode()))
        connection.wait_closed()

    running, _ = pair(handle=handle)
    before = running.resident
    with Client(running.edge, seconds=60) as client:
        stalled = threading.Event()

        def send():
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (total * MIB))
            for number in range(total):
                if not select.select([], [client.sock], [], 1)[1]:
                    stalled.set()
                client.send(block)
                sent.append(number)
            stalled.set()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        assert stalled.wait(patience(30))
        assert len(sent) < 60
        assert running.resident - before < 30 * MIB
        go.set()
        sender.join(patience(60))
        assert client.read().body.decode() == hashlib.sha256(block * total).hexdigest()


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_server_sent_events_arrive_one_by_one(pair, framing):
    step = threading.Semaphore(0)

    def handle(connection):
        connection.read()
        lead = b"Transfer-Encoding: chunked\r\n" if framing == "chunked" else b""
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + lead + b"\r\n")
        for number in range(20):
            event = b"data: %d\n\n" % number
            connection.send(b"%x\r\n%s\r\n" % (len(event), event) if framing == "chunked" else event)
            assert step.acquire(timeout=patience(15)), "the client did not see the event"
        if framing == "chunked":
            connection.send(b"0\r\n\r\n")
            connection.wait_closed()

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.request()
        response = client.read_head()
        assert response.one("content-type") == "text/event-stream"
        for number in range(20):
            size = int(client.line("an event"), 16)
            pieces = []
            client.exactly(size, pieces.append, "an event")
            assert b"".join(pieces) == b"data: %d\n\n" % number
            assert client.line("an event") == b""
            step.release()
        assert client.line("the end") == b"0"


def test_head_of_the_answer_arrives_before_its_body(pair):
    go = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        assert go.wait(patience(15))
        connection.send(b"hello")
        connection.wait_closed()

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.request()
        assert client.read_head().status == 200
        go.set()
        pieces = []
        client.exactly(5, pieces.append, "a body")
        assert b"".join(pieces) == b"hello"


# Tunnels

UPGRADE = ["Connection: Upgrade", "Upgrade: chat/1"]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\n"


def echo(connection):
    """Switches protocols, then sends every byte back."""
    if connection.read_head() is None:
        return
    connection.send(SWITCH)
    connection.to_end(connection.send)


def test_raw_tunnel(pair):
    running, _ = pair(handle=echo)
    with running.client() as client:
        client.request(headers=UPGRADE)
        head = client.read_head()
        assert head.status == 101
        assert head.one("upgrade") == "chat/1"
        assert head.one("connection").lower() == "upgrade"
        for size in (1, 100, 100_000):
            data, back = os.urandom(size), []
            client.send(data)
            client.exactly(size, back.append, "the tunnel")
            assert b"".join(back) == data


def test_tunnel_bytes_sent_with_the_upgrade_and_with_the_switch(pair):
    def handle(connection):
        connection.read_head()
        connection.send(SWITCH + b"first")
        connection.to_end(connection.send)

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\nearly")
        assert client.read_head().status == 101
        back = []
        client.exactly(10, back.append, "the tunnel")
        assert b"".join(back) == b"firstearly"


def test_tunnel_half_closes_both_ways(pair):
    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        got = []
        connection.to_end(got.append)
        connection.send(b"got " + b"".join(got))

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.request(headers=UPGRADE)
        assert client.read_head().status == 101
        client.send(b"all")
        client.shutdown()
        rest = []
        client.to_end(rest.append)
        assert b"".join(rest) == b"got all"
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the tunnel was closed")


def test_refused_upgrade_is_an_ordinary_answer(pair):
    running, behind = pair(lambda request: ok(b"no", "400 Bad Request"))
    with running.client() as client:
        for _ in range(2):
            client.request(headers=UPGRADE)
            assert client.read().body == b"no"
    assert behind.requests[0].one("upgrade") == "chat/1"


def test_upstream_end_of_a_tunnel_closes_the_client(pair):
    running, _ = pair(handle=lambda connection: (connection.read_head(), connection.send(SWITCH + b"bye")))
    with running.client() as client:
        client.request(headers=UPGRADE)
        client.read_head()
        rest = []
        client.to_end(rest.append)
        assert b"".join(rest) == b"bye"


def test_client_reset_ends_a_tunnel(pair):
    running, behind = pair(handle=echo)
    with running.client() as client:
        client.request(headers=UPGRADE)
        client.read_head()
        client.reset()
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the tunnel was closed")


def test_a_hundred_tunnels_leave_nothing_behind(pair):
    running, behind = pair(handle=echo)
    before = running.open_files
    clients = [Client(running.edge) for _ in range(100)]
    for client in clients:
        client.request(headers=UPGRADE)
    for client in clients:
        assert client.read_head().status == 101
    for client in clients:
        client.close()
    until(lambda: running.open_files <= before + 1, "all descriptors are free again")


# WebSocket with a real library at both ends


async def socket_echo(socket):
    async for message in socket:
        await socket.send(message)


def test_websockets(weir):
    async def main():
        async with serve(socket_echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            running = await asyncio.to_thread(weir, configuration([cluster("main", f"127.0.0.1:{port}")]))
            async with connect(f"ws://{running.edge}/", max_size=None, open_timeout=patience(10)) as socket:
                for message in ("hello", "", "x" * 100_000, os.urandom(2 * MIB)):
                    await socket.send(message)
                    assert await asyncio.wait_for(socket.recv(), patience(15)) == message
                await asyncio.wait_for(await socket.ping(), patience(15))
            assert socket.close_code == 1000

    asyncio.run(main())


def test_fifty_websockets_at_once(weir):
    async def main():
        async with serve(socket_echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            running = await asyncio.to_thread(weir, configuration([cluster("main", f"127.0.0.1:{port}")]))

            async def one(number):
                async with connect(f"ws://{running.edge}/", open_timeout=patience(10)) as socket:
                    for turn in range(20):
                        await socket.send(f"{number} {turn}")
                        assert await socket.recv() == f"{number} {turn}"

            await asyncio.wait_for(asyncio.gather(*map(one, range(50))), patience(30))

    asyncio.run(main())


def test_websocket_key_reaches_the_upstream_unchanged(pair):
    running, behind = pair(lambda request: ok())
    key = base64.b64encode(os.urandom(16)).decode()
    with running.client() as client:
        client.request(
            headers=[
                "Connection: keep-alive, Upgrade",
                "Upgrade: websocket",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
            ]
        )
        assert client.read().status == 200
    request = behind.requests[0]
    assert request.one("sec-websocket-key") == key
    assert request.one("connection").lower() == "upgrade"
