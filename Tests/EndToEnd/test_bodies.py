"""Bodies of every kind and size, both ways, byte-exact."""

import hashlib
import random
import threading

import pytest

from harness import Client, Incomplete, ok, patience

MIB = 1 << 20


def blob(size, seed=1):
    return random.Random(seed).randbytes(size)


def chunks(data, size):
    made = b"".join(
        b"%x\r\n%s\r\n" % (len(data[at : at + size]), data[at : at + size])
        for at in range(0, len(data), size)
    )
    return made + b"0\r\n\r\n"


SIZES = [0, 1, 2, 1023, 16383, 16384, 16385, 65536, 1 * MIB + 7]


@pytest.mark.parametrize("size", SIZES)
def test_length_request_body(pair, size):
    running, behind = pair(lambda request: ok(hashlib.sha256(request.body).hexdigest().encode()))
    body = blob(size)
    with running.client() as client:
        for _ in range(2):
            client.request("POST", body=body)
            assert client.read().body.decode() == hashlib.sha256(body).hexdigest()
    assert behind.requests[0].body == body
    assert len(behind.connections) == 1


@pytest.mark.parametrize("piece", [1, 7, 4096, 100_000])
@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_chunked_request_body(pair, size, piece):
    if size / piece > 10_000:
        piece = 37
    running, behind = pair()
    body = blob(size)
    with running.client() as client:
        for _ in range(2):
            client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body, piece)
            )
            assert client.read().status == 200
    assert [request.body for request in behind.requests] == [body, body]


@pytest.mark.parametrize("size", SIZES)
def test_length_response_body(pair, size):
    body = blob(size)
    running, behind = pair(lambda request: ok(body))
    with running.client() as client:
        for _ in range(2):
            client.request()
            response = client.read()
            assert response.one("content-length") == str(size)
            assert response.body == body
    assert len(behind.connections) == 1


@pytest.mark.parametrize("piece", [1, 100, 65536])
def test_chunked_response_body(pair, piece):
    body = blob(20_000 if piece == 1 else 500_000)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body, piece)
    running, behind = pair(lambda request: data)
    with running.client() as client:
        for _ in range(2):
            client.request()
            assert client.read().body == body
    assert len(behind.connections) == 1


def test_body_until_close_becomes_chunked(pair):
    body = blob(100_000)
    running, _ = pair(
        handle=lambda connection: (connection.read(), connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + body))
    )
    with running.client() as client:
        client.request()
        response = client.read()
        assert response.one("transfer-encoding") == "chunked"
        assert response.body == body
        client.request()
        assert client.read().body == body, "the client's connection lives on"


def test_chunked_answer_to_a_1_0_client_ends_with_the_connection(pair):
    body = blob(50_000)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body, 1000)
    running, _ = pair(lambda request: data)
    with running.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        response = client.read()
        assert not response.all("transfer-encoding")
        assert response.body == body
        client.expect_end()


def test_response_trailers_are_passed_on(pair):
    data = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
    )
    running, behind = pair(lambda request: data)
    with running.client() as client:
        client.request(headers=["TE: trailers", "Connection: TE"])
        response = client.read()
        assert response.body == b"hello"
        assert ("x-sum", "42") in response.trailers


def test_request_trailers_are_passed_on(pair):
    running, behind = pair()
    with running.client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
        )
        assert client.read().status == 200
    assert behind.requests[0].body == b"hello"
    assert behind.requests[0].trailers == [("x-sum", "42")]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_body_keep_the_connection(pair, status):
    running, behind = pair(lambda request: f'HTTP/1.1 {status}\r\nETag: "a"\r\n\r\n'.encode())
    with running.client() as client:
        for _ in range(3):
            client.request()
            response = client.read()
            assert response.status == int(status[:3])
            assert response.one("etag") == '"a"'
            assert not response.all("transfer-encoding")
    assert len(behind.connections) == 1


def test_head_keeps_the_declared_length(pair):
    running, behind = pair(lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    with running.client() as client:
        for _ in range(3):
            client.request("HEAD")
            response = client.read("HEAD")
            assert response.one("content-length") == "12345"
    assert len(behind.connections) == 1


def test_early_hints_are_forwarded_at_once(pair):
    go = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        assert go.wait(patience(15))
        connection.send(ok())
        connection.wait_closed()

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.request()
        assert client.line("an interim answer") == b"HTTP/1.1 103 Early Hints"
        assert ("link", "</a.css>; rel=preload") in client.fields("an interim answer")
        go.set()
        assert client.read().status == 200


@pytest.mark.parametrize("count, status", [(16, 200), (17, 502)])
def test_interim_answers_have_an_end(pair, count, status):
    running, _ = pair(lambda request: b"HTTP/1.1 103 \r\n\r\n" * count + ok())
    answer = running.get()
    assert (answer.status, len(answer.interim)) == (status, 16)
    assert answer.reason == (None if status == 200 else "upstream_protocol")


def test_1_0_clients_get_no_interim_answers(pair):
    running, _ = pair(lambda request: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok())
    with running.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        response = client.read()
        assert response.status == 200 and not response.interim


def expecting(length=5):
    return b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length


def test_expect_continue_is_asked_of_the_upstream(pair):
    def handle(connection):
        request = connection.read_head()
        assert request.one("expect").lower() == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.note(connection.read_body(request))
        connection.send(ok())
        connection.wait_closed()

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.send(expecting())
        assert client.line("an interim answer") == b"HTTP/1.1 100 Continue"
        client.fields("an interim answer")
        client.send(b"hello")
        assert client.read().status == 200
    assert behind.requests[0].body == b"hello"


def test_expectation_that_the_upstream_refuses(pair):
    def handle(connection):
        connection.read_head()
        connection.send(ok(b"no", "401 Unauthorized"))
        connection.wait_closed()

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.send(expecting())
        response = client.read()
        assert response.status == 401 and not response.interim
        # Whether a body follows is the client's choice, so the connection cannot go on as it is.
        assert response.one("connection") == "close" or not client.sock.send(b"hello") == 0
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "weir closed the upstream side")


def test_client_that_does_not_wait_for_continue(pair):
    def handle(connection):
        request = connection.read_head()
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.note(connection.read_body(request))
        connection.send(ok())
        connection.wait_closed()

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.send(expecting() + b"hello")
        assert client.read().status == 200
    assert behind.requests[0].body == b"hello"


def test_upstream_that_ignores_the_expectation_but_reads(pair):
    """Without a 100 the client waits only so long; here it sends after a while, as curl does."""
    running, behind = pair()
    with running.client() as client:
        client.send(expecting())
        behind.wait(
            lambda: behind.connections and b"\r\n\r\n" in behind.connections[0].record, "the head came"
        )
        client.send(b"hello")
        assert client.read().status == 200
    assert behind.requests[0].body == b"hello"


def test_upstream_that_dies_in_a_body_breaks_the_clients_body_off(pair):
    running, _ = pair(
        handle=lambda connection: (
            connection.read(),
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000),
        )
    )
    with running.client() as client:
        client.request()
        with pytest.raises(Incomplete):
            client.read()
    assert running.wait_log()[0]["reason"] == "upstream_reset"


def test_client_that_dies_in_a_body_breaks_the_upstreams_body_off(pair):
    done = threading.Event()

    def handle(connection):
        request = connection.read_head()
        with pytest.raises(Incomplete):
            connection.read_body(request, lambda piece: None)
        done.set()

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n"
            + b"x" * 65536
            + b"\r\n"
        )
        client.send(b"10000\r\n" + b"x" * 1000)
        client.shutdown()
        response = client.read()
        assert response is None or response.status == 400
    assert done.wait(patience(15)), "the upstream must see that the body is not whole"


def test_bad_chunk_after_the_head_was_sent_on_never_ends_the_body_well(pair):
    done = threading.Event()

    def handle(connection):
        request = connection.read_head()
        with pytest.raises(Incomplete):
            connection.read_body(request, lambda piece: None)
        done.set()

    running, _ = pair(handle=handle)
    with running.client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n"
            + b"x" * 0x20000
            + b"\r\n"
        )
        client.send(b"-5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.read()
        assert response is None or (response.status == 400 and response.reason == "bad_request")
        client.expect_end()
    assert done.wait(patience(15))


@pytest.mark.slow
def test_50_mb_each_way_at_once(pair):
    """The upstream echoes while it reads; both directions stream through bounded buffers."""
    block = blob(MIB, 7)
    total = 50

    def handle(connection):
        request = connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.recording = False
        connection.read_body(request, lambda piece: connection.send(b"%x\r\n%s\r\n" % (len(piece), piece)))
        connection.send(b"0\r\n\r\n")

    running, _ = pair(handle=handle)
    before = running.resident
    with Client(running.edge, seconds=60) as client:

        def send():
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (total * MIB))
            for _ in range(total):
                client.send(block)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        response = client.read(keep=False)
        sender.join(patience(60))
    assert response.length == total * MIB
    assert response.digest == hashlib.sha256(block * total).hexdigest()
    assert running.resident - before < 40 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_50_mb_up(pair, framing):
    block, digest = blob(MIB, 8), hashlib.sha256()

    def handle(connection):
        connection.recording = False
        request = connection.read_head()
        connection.read_body(request, digest.update)
        connection.send(ok(digest.hexdigest().encode()))
        connection.wait_closed()

    running, _ = pair(handle=handle)
    with Client(running.edge, seconds=60) as client:
        if framing == "length":
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (50 * MIB))
            for _ in range(50):
                client.send(block)
        else:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(50):
                client.send(b"%x\r\n%s\r\n" % (MIB, block))
            client.send(b"0\r\n\r\n")
        assert client.read().body.decode() == hashlib.sha256(block * 50).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_50_mb_down(pair, framing):
    block = blob(MIB, 9)
    lead = {
        "length": b"Content-Length: %d\r\n" % (50 * MIB),
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "close": b"",
    }

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\n" + lead[framing] + b"\r\n")
        for _ in range(50):
            connection.send(b"%x\r\n%s\r\n" % (MIB, block) if framing == "chunked" else block)
        if framing == "chunked":
            connection.send(b"0\r\n\r\n")
        if framing != "close":
            connection.wait_closed()

    running, _ = pair(handle=handle)
    with Client(running.edge, seconds=60) as client:
        client.request()
        response = client.read(keep=False)
    assert (response.length, response.digest) == (50 * MIB, hashlib.sha256(block * 50).hexdigest())
