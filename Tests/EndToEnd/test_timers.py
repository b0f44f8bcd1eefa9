"""Slow clients and slow upstreams are cut by timers, and a slow client costs the upstream nothing."""

import threading
import time

import pytest

from harness import Client, Incomplete, forward, listener, ok, patience, until

#: Short timers, but long enough that a slow build still gets ordinary requests through.
SHORT = f"{int(patience(700))}ms"


def edge(**limits):
    return [listener(limits=limits)]


def trickle(byte=b"x", pause=0.02):
    """One byte after another, for far longer than any timer here."""
    end = time.monotonic() + patience(10)
    while time.monotonic() < end:
        time.sleep(pause)
        yield byte


def test_slow_head_is_answered_with_408(pair):
    running, behind = pair(listeners=edge(header_timeout=SHORT))
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        response = client.read()
        assert (response.status, response.reason) == (408, "client_too_slow")
        client.expect_end()
    assert not behind.connections
    assert running.wait_log()[0]["reason"] == "client_too_slow"


def test_head_timer_is_not_reset_by_each_byte(pair):
    running, _ = pair(listeners=edge(header_timeout=SHORT))
    started = time.monotonic()
    with running.client() as client:
        client.send(b"GET /")
        assert not client.send_until_answered(trickle())
        assert client.read().status == 408
    assert time.monotonic() - started < patience(8)


def test_connection_without_a_byte_is_closed(pair):
    running, _ = pair(listeners=edge(header_timeout=SHORT, idle_timeout=SHORT))
    with running.client() as client:
        response = client.read()
        assert response is None or response.status == 408


def test_slow_body_is_answered_with_408(pair):
    running, behind = pair(listeners=edge(body_timeout=SHORT, body_min_rate="1KiB/s"))
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        response = client.read()
        assert (response.status, response.reason) == (408, "client_too_slow")
        client.expect_end()
    assert not behind.connections


def test_body_below_the_minimum_rate_is_cut_although_it_trickles(pair):
    running, behind = pair(listeners=edge(body_timeout=SHORT, body_min_rate="10KiB/s"))
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert not client.send_until_answered(trickle())
        assert client.read().status == 408
    assert not behind.connections


def test_body_that_turns_slow_after_it_was_sent_on_ends_the_attempt(pair):
    cut = threading.Event()

    def handle(connection):
        request = connection.read_head()
        with pytest.raises(Incomplete):
            connection.read_body(request, lambda piece: None)
        cut.set()

    running, _ = pair(handle=handle, listeners=edge(body_timeout=SHORT, body_min_rate="1KiB/s"))
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        response = client.read()
        assert response is None or response.status == 408
    assert cut.wait(patience(15))


def test_200_slow_bodies_cost_the_upstream_nothing(pair):
    running, behind = pair(
        listeners=edge(body_timeout=f"{int(patience(3))}s", body_min_rate="1KiB/s"), runtime={"workers": 2}
    )
    slow = [Client(running.edge) for _ in range(200)]
    try:
        for client in slow:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        for _ in range(10):
            with running.client() as client:
                client.request(path="/quick")
                assert client.read().status == 200
        assert {request.target for request in behind.requests} == {"/quick"}
        for client in slow:
            response = client.read()
            assert (response.status, response.reason) == (408, "client_too_slow")
        assert len(behind.requests) == 10
        assert len(behind.connections) <= 2, "one kept connection a worker, none for the slow"
    finally:
        for client in slow:
            client.close()


@pytest.mark.slow
def test_slow_reader_is_cut(pair):
    gone = threading.Event()

    def handle(connection):
        connection.read()
        try:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1000):
                connection.send(b"x" * 100_000)
        finally:
            gone.set()

    running, _ = pair(handle=handle, listeners=edge(send_timeout=SHORT, send_min_rate="1MiB/s"))
    with Client(running.edge, receive_buffer=4096) as client:
        client.request()
        assert gone.wait(patience(30)), "the upstream was freed although the client does not read"
        line = running.wait_log()[0]
        assert line["reason"] == "client_too_slow"
    assert line["bytes_out"] < 100_000_000


def test_upstream_that_does_not_answer_is_given_up(pair):
    running, behind = pair(
        handle=lambda connection: (connection.read(), connection.wait_closed()),
        routes=[forward(timeout=SHORT)],
    )
    with running.client() as client:
        client.request()
        response = client.read()
        assert (response.status, response.reason) == (504, "upstream_timeout")
        client.request()
        assert client.read().status == 504, "the client's connection lives on"
    behind.wait(
        lambda: all(one.is_closed.is_set() for one in behind.connections), "both attempts were closed"
    )


def test_route_timeout_does_not_cut_a_long_answer(pair):
    go = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        assert go.wait(patience(30))
        connection.send(b"b")
        connection.wait_closed()

    running, _ = pair(handle=handle, routes=[forward(timeout=SHORT)])
    with running.client() as client:
        client.request()
        assert client.read_head().status == 200
        started = time.monotonic()
        until(lambda: time.monotonic() - started > patience(1.5), "twice the timeout is over")
        go.set()
        body = []
        client.exactly(2, body.append, "the body")
        assert b"".join(body) == b"ab"


def test_slow_requests_do_not_hold_up_others(pair):
    """A worker with many clients waiting on the upstream still serves the rest at once."""
    release = threading.Event()

    def answer(request):
        if request.target == "/slow":
            assert release.wait(patience(30))
        return ok()

    running, behind = pair(answer)
    waiting = [Client(running.edge) for _ in range(50)]
    try:
        for client in waiting:
            client.request(path="/slow")
        behind.wait_requests(50)
        for _ in range(20):
            assert running.get("/quick").status == 200
        release.set()
        assert {client.read().status for client in waiting} == {200}
    finally:
        release.set()
        for client in waiting:
            client.close()
