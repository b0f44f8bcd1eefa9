"""What once went wrong: each test fails on the version that had the fault."""

import signal
import socket
import threading
import time

import pytest

from harness import (
    Client,
    cluster,
    configuration,
    forward,
    listener,
    ok,
    patience,
    until,
)

UPGRADE = ["Connection: Upgrade", "Upgrade: chat/1"]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\n"
KIB = 1 << 10


def short(milliseconds):
    return f"{int(patience(milliseconds))}ms"


def test_tunnel_that_the_upstream_ends_gives_its_connection_back(pair):
    """Only reads after the end settled the upstream side: it stayed open for good."""
    held = []

    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        held.append(connection.sock.dup())  # no FIN from a close: only the half-close below
        connection.shutdown()
        connection.wait_closed(30)

    running, behind = pair(handle=handle)
    before = running.open_files
    for _ in range(5):
        with running.client() as client:
            client.request(headers=UPGRADE)
            assert client.read_head().status == 101
            client.expect_end()
    behind.wait(
        lambda: len(behind.connections) == 5 and all(one.is_closed.is_set() for one in behind.connections),
        "weir closed its side of the ended tunnels",
    )
    until(lambda: running.open_files <= before, "no descriptor is left")
    for sock in held:
        sock.close()


def test_half_close_of_the_client_does_not_cut_what_the_upstream_sent_last(pair):
    """The upstream's end of stream was noted before its bytes were read."""
    total = 12 << 20

    def handle(connection):
        connection.read_head()
        connection.send(SWITCH + b"x" * total)
        connection.shutdown()
        connection.wait_closed(60)

    running, _ = pair(handle=handle)
    with Client(running.edge, receive_buffer=8192) as client:
        client.request(headers=UPGRADE)
        assert client.read_head().status == 101
        # Let the queues fill, so that the upstream's end waits behind bytes that are not read.
        time.sleep(patience(0.5))
        client.shutdown()
        time.sleep(patience(0.2))
        got = []
        client.to_end(lambda piece: got.append(len(piece)))
        assert sum(got) == total


def test_idle_tunnel_is_cut(pair):
    """Nothing ever ended a tunnel whose client had vanished."""
    ended = threading.Event()

    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        connection.wait_closed(30)
        ended.set()

    running, _ = pair(handle=handle, routes=[forward(idle_timeout=short(500))])
    with running.client() as client:
        client.request(headers=UPGRADE)
        assert client.read_head().status == 101
        client.expect_end()
    assert ended.wait(patience(15))


def test_busy_tunnel_is_not_idle(pair):
    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        connection.to_end(lambda piece: None)

    running, _ = pair(handle=handle, routes=[forward(idle_timeout=short(600))])
    with running.client() as client:
        client.request(headers=UPGRADE)
        assert client.read_head().status == 101
        end = time.monotonic() + patience(2)
        while time.monotonic() < end:
            client.send(b"x")
            time.sleep(patience(0.1))
        client.sock.settimeout(0.01)
        try:
            assert client.sock.recv(1) != b"", "the tunnel was cut although the client spoke"
        except TimeoutError:
            pass


def test_slow_reader_is_not_blamed_on_the_upstream(pair):
    """The stream's idle timer ran while it was weir that did not read, waiting for the client."""
    total = 24 << 20

    def handle(connection):
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        connection.send(b"x" * total)
        connection.wait_closed(60)

    running, _ = pair(
        handle=handle,
        routes=[forward(idle_timeout=short(500))],
        listeners=[listener(limits={"send_timeout": "60s"})],
    )
    with Client(running.edge, receive_buffer=65536) as client:
        client.request()
        head = client.read_head()
        time.sleep(patience(2))
        got = []
        client.exactly(int(head.one("content-length")), lambda piece: got.append(len(piece)), "the body")
        assert sum(got) == total


def test_upstream_that_stops_reading_a_body_is_given_up(pair):
    """No timer ran before the request was complete, and the client was rightly not blamed."""
    closed = threading.Event()

    def handle(connection):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.read_head()
        assert closed.wait(patience(40))

    running, _ = pair(
        handle=handle,
        routes=[forward(timeout=short(800), request_buffer="0B")],
        listeners=[listener(limits={"body_timeout": short(500), "body_min_rate": "1KiB/s"})],
    )
    try:
        with running.client() as client:
            total = 64 << 20
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
            client.send_until_answered(b"x" * (64 * KIB) for _ in range(total // (64 * KIB)))
            line = running.wait_log()[0]
            assert (line["status"], line["reason"]) == (504, "upstream_timeout")
    finally:
        closed.set()


def test_late_continue_is_not_the_clients_fault(pair):
    """A client that waits for `100 Continue` sends nothing: that is not too slow."""

    def handle(connection):
        request = connection.read_head()
        time.sleep(patience(1.2))
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_body(request)
        connection.send(ok(b"thanks"))
        connection.wait_closed(30)

    running, _ = pair(
        handle=handle, listeners=[listener(limits={"body_timeout": short(500), "body_min_rate": "1KiB/s"})]
    )
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.line("an interim response") == b"HTTP/1.1 100 Continue"
        assert client.line("an interim response") == b""
        client.send(b"body")
        assert client.read().body == b"thanks"


def test_each_pace_is_judged_over_its_own_window(pair):
    """The body's timer, still armed, judged a response that had only just begun to queue."""
    total = 24 << 20

    def handle(connection):
        connection.read()
        time.sleep(patience(0.8))
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        connection.send(b"x" * total)
        connection.wait_closed(60)

    running, _ = pair(
        handle=handle,
        listeners=[
            listener(
                limits={
                    "body_timeout": short(1000),
                    "body_min_rate": "1KiB/s",
                    "send_timeout": "20s",
                    "send_min_rate": "16KiB/s",
                }
            )
        ],
    )
    with Client(running.edge, receive_buffer=4096, seconds=60) as client:
        client.request("POST", body=b"x")
        head = client.read_head()
        assert head.status == 200
        # Nothing is read while the old timer goes off, then all of it at once.
        time.sleep(patience(1.5))
        got = []
        client.exactly(total, lambda piece: got.append(len(piece)), "the body")
        assert sum(got) == total


def test_reload_that_moves_the_admin_listener_is_answered_by_the_old_one(weir, upstream):
    """The connection that asked outlived its server, and the process ended."""
    running = weir(configuration([cluster("main", upstream())]))
    assert running.get().status == 200
    moved = configuration([cluster("main", upstream())])
    elsewhere = str(running.directory / "moved.sock")
    old, running.admin = running.admin, elsewhere
    running.swap(moved)
    running.admin = old
    status, text = running.ask("POST", "/reload")
    assert status == 200, text
    running.admin = elsewhere
    assert running.status()["generation"] == 2
    assert running.get().status == 200


@pytest.mark.forced
def test_forced_end_with_busy_streams_is_orderly(weir, upstream):
    """Exchanges were let go of while their upstream connections still pointed at them."""
    stop = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not stop.is_set():
            connection.send(b"400\r\n" + b"x" * KIB + b"\r\n")

    running = weir(configuration([cluster("main", upstream(handle=handle))], runtime={"drain_timeout": "60s"}))
    clients = [Client(running.edge) for _ in range(40)]
    try:
        for client in clients:
            client.request()
            assert client.read_head().status == 200
        running.signal(signal.SIGTERM)
        until(lambda: running.status()["state"] == "draining", "it drains")
        running.signal(signal.SIGTERM)
        assert running.wait_exit() == 0
    finally:
        stop.set()
        for client in clients:
            client.close()
    assert len(running.log()) == 40, "each exchange that was cut has its line"
    assert {line["reason"] for line in running.log()} == {"draining"}


def test_connections_that_waited_when_the_drain_began_are_served(weir, upstream):
    """What the kernel had taken was accepted, and then closed without a look at its request."""
    running = weir(configuration([cluster("main", upstream())], runtime={"workers": 1, "drain_timeout": "30s"}))
    edge = running.edge
    clients = []
    with running.stopped():
        for _ in range(600):
            client = Client(edge)
            client.request()
            clients.append(client)
        running.signal(signal.SIGTERM)
    answers = [client.read() for client in clients]
    for client in clients:
        client.close()
    assert [answer.status if answer else None for answer in answers] == [200] * 600
    assert running.wait_exit() == 0


def test_redirect_within_the_site_stays_there(weir):
    """A rewritten path that begins with two slashes names another host."""
    running = weir(
        configuration(
            [],
            routes=[
                {
                    "name": "old",
                    "match": {"path_prefix": "/old"},
                    "redirect": {"prefix_rewrite": "/"},
                }
            ],
        )
    )
    for path in ("/old//evil.example/", "/old///evil.example/"):
        location = running.get(path).one("location")
        assert location.startswith("/") and not location.startswith("//"), location


def test_thousands_of_pipelined_requests_cost_little_memory(weir):
    """Each kept its exchange until the end of the turn, and one read holds thousands."""
    running = weir(
        configuration(
            [],
            routes=[{"name": "here", "match": {"path": "/x"}, "direct_response": {"status": 204}}],
            runtime={"workers": 1},
        )
    )
    count = 8000
    before = running.resident
    clients = [Client(running.edge) for _ in range(10)]

    def send(client):
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * count)

    senders = [threading.Thread(target=send, args=(client,), daemon=True) for client in clients]
    with running.stopped():
        for sender in senders:
            sender.start()
        time.sleep(patience(0.3))
    for client in clients:
        assert {client.read().status for _ in range(count)} == {204}
        client.close()
    assert running.resident - before < 100 << 20


def test_body_that_was_never_asked_for_is_not_waited_for(weir):
    """After a final answer in place of `100 Continue` the next request was taken for the body."""
    running = weir(
        configuration(
            [], routes=[{"name": "here", "match": {"path": "/x"}, "direct_response": {"status": 204}}]
        )
    )
    with running.client() as client:
        client.send(b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        response = client.read()
        assert (response.status, response.one("connection")) == (404, "close")
        client.expect_end()


def test_connection_that_was_closed_just_now_gets_no_request_that_cannot_be_repeated(pair):
    """The endpoint's end and the request came in one turn, and the request was looked at first."""
    running, behind = pair()
    with running.client() as client:
        client.request("POST", body=b"one")
        assert client.read().status == 200
        with running.stopped():
            client.request("POST", body=b"two")
            behind.connections[0].shutdown()
        assert client.read().status == 200
    assert [request.body for request in behind.requests] == [b"one", b"two"]


def test_final_answer_in_place_of_continue_ends_the_connection(pair):
    """It did, but did not say so: the client's next request was lost."""

    def handle(connection):
        connection.read_head()
        connection.send(ok(b"no", "401 Unauthorized"))
        connection.wait_closed(30)

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        response = client.read()
        assert (response.status, response.one("connection")) == (401, "close")
        client.expect_end()
