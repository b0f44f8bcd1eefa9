"""Answers over HTTP/2: heads, bodies, trailers, refusals, and what comes early or breaks off."""

import json
import random
import threading

import pytest

from harness import cluster, configuration, forward, listener, ok, patience, until
from harness.http2 import (
    CANCEL,
    DATA,
    END_STREAM,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    NO_ERROR,
    REFUSED_STREAM,
    Http2Client,
    frame,
)

MIB = 1 << 20


def blob(size):
    return random.Random(size).randbytes(size)


def chunked(data, size=1000, trailers=b""):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n" + trailers + b"\r\n"


def test_the_head_of_an_answer(pair):
    """The client itself insists on lower case and on `:status` before everything else."""
    lines = ["X-Mixed-CASE: Aa", "Connection: X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5"]
    lines += ["Proxy-Connection: keep-alive", "Upgrade: h2c", "Set-Cookie: a=1", "Set-Cookie: b=2"]
    running, behind = pair(lambda request: ok(b"body", headers=lines))
    with Http2Client(running.edge) as client:
        answer = client.get()
    assert answer.status == 200 and answer.body == b"body"
    assert answer.one("x-mixed-case") == "Aa"
    assert answer.one("content-length") == "4"
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert answer.one("via") == "1.1 weir"
    assert answer.one("x-request-id") == behind.requests[0].one("x-request-id")
    assert not answer.all("x-mine")


@pytest.mark.parametrize("table", [4096, 0, 65_536])
def test_large_heads_with_any_table(pair, table):
    """Heads of several frames, for clients that keep no table, the usual one or a large one."""
    many = [f"X-{number}: {f'{number}.' * 300}" for number in range(20)]
    running, _ = pair(lambda request: ok(request.target.encode(), headers=many))
    with Http2Client(running.edge, settings={HEADER_TABLE_SIZE: table}) as client:
        for count in range(5):
            answer = client.get(f"/{count}")
            assert answer.body == b"/%d" % count
            assert answer.one("x-19") == "19." * 300
        client.change({HEADER_TABLE_SIZE: 0})
        assert client.ping()
        client.decoder.max_allowed_table_size = 0
        assert client.get("/after").body == b"/after"


@pytest.mark.parametrize("size", [66_000, 70_000, 80_000])
def test_an_answer_that_leaves_before_it_is_read_to_its_end(pair, size):
    """So much waits that it is sent at once, and the stream ends with it: nobody has left."""
    running, behind = pair(lambda request: ok(blob(size)))
    with Http2Client(running.edge, settings={INITIAL_WINDOW_SIZE: MIB}) as client:
        client.open_window(None, 8 * MIB)
        for _ in range(20):
            assert client.get().body == blob(size)
    lines = running.wait_log(20)
    assert {(line["reason"], line["ended_by"]) for line in lines} == {(None, None)}
    assert len(behind.connections) == 1


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, MIB + 7])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_arrives_as_it_was(pair, size, framing):
    body = blob(size)
    data = {
        "length": ok(body),
        "chunked": chunked(body, 5000),
        "close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]

    def handle(connection):
        while connection.read():
            connection.send(data)
            if framing == "close":
                return

    running, _ = pair(handle=handle)
    with Http2Client(running.edge) as client:
        for _ in range(2):
            answer = client.get()
            assert answer.body == body
            assert answer.one("content-length") == (str(size) if framing == "length" else None)


def test_events_arrive_one_by_one(pair):
    step = threading.Semaphore(0)

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        connection.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            assert step.acquire(timeout=patience(15)), "the client did not see what came before"
            connection.send(b"3\r\n%03d\r\n" % number)
        connection.send(b"0\r\n\r\n")
        connection.wait_closed()

    running, _ = pair(handle=handle)
    with Http2Client(running.edge) as client:
        stream = client.request()
        assert client.until(lambda: stream.status == 200), "the head comes before the body"
        for number in range(20):
            step.release()
            assert client.until(lambda: stream.length == 3 * number + 3)
        assert client.read(stream).body == b"".join(b"%03d" % number for number in range(20))


def test_trailers_of_an_answer(pair):
    running, _ = pair(lambda request: chunked(b"hello", trailers=b"X-Sum: 42\r\nX-More: y\r\n"))
    with Http2Client(running.edge) as client:
        for _ in range(2):
            answer = client.get(headers=[("te", "trailers")])
            assert answer.body == b"hello"
            assert answer.trailers == [("x-sum", "42"), ("x-more", "y")]
            assert answer.frames[-1] == "Headers"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "HEAD", "HEAD chunked"])
def test_an_answer_without_a_body_ends_with_its_head(pair, status):
    lead = f"HTTP/1.1 {'200 OK' if status.startswith('HEAD') else status}\r\nETag: \"a\"\r\n"
    lead += {
        "HEAD": "Content-Length: 12345\r\n",
        "HEAD chunked": "Transfer-Encoding: chunked\r\n",
    }.get(status, "")
    running, behind = pair(lambda request: f"{lead}\r\n".encode())
    with Http2Client(running.edge) as client:
        for _ in range(3):
            answer = client.get(method=status.split()[0] if status.startswith("HEAD") else "GET")
            assert answer.frames == ["Headers"]
            assert answer.one("etag") == '"a"'
            assert answer.one("content-length") == ("12345" if status == "HEAD" else None)
    assert len(behind.connections) == 1


# Interim answers


def test_early_hints_are_forwarded_at_once(pair):
    go = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        assert go.wait(patience(15))
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n" + ok())
        connection.wait_closed()

    running, _ = pair(handle=handle)
    with Http2Client(running.edge) as client:
        stream = client.request()
        assert client.until(lambda: stream.interim)
        assert stream.interim[0].status == 103
        assert stream.interim[0].one("link") == "</a.css>; rel=preload"
        go.set()
        assert client.read(stream).status == 200
        assert [hint.status for hint in stream.interim] == [103, 103]


def test_hints_and_the_trailers_of_others_are_kept_apart(weir, http2_upstream):
    """All heads of a worker are gathered in one place; here they come within one turn of its loop."""
    behind = http2_upstream(lambda call: None, early=True)
    made = configuration([cluster("main", behind, http2=True)], [forward()], runtime={"workers": 1})
    running = weir(made)
    with Http2Client(running.edge) as client:
        streams = [client.request(path="/hinted"), client.request(path="/trailed")]
        behind.wait_requests(2)
        hinted, trailed = sorted(behind.requests, key=lambda call: call.path)
        assert hinted.connection is trailed.connection
        connection, pieces = hinted.connection, []
        connection.send, send = pieces.append, connection.send
        trailed.respond(body=b"body", trailers=[("x-sum", "secret")])
        for number in range(3):
            hinted.interim(103, [("link", f"</{number}>")])
        hinted.respond(body=b"last")
        connection.send = send
        send(b"".join(pieces))
        first, second = (client.read(stream) for stream in streams)
        assert [interim.one("link") for interim in first.interim] == ["</0>", "</1>", "</2>"]
        assert (first.status, first.body, first.trailers) == (200, b"last", [])
        assert (second.body, second.trailers) == (b"body", [("x-sum", "secret")])


def test_expect_continue_is_asked_of_the_endpoint(pair):
    def handle(connection):
        request = connection.read_head()
        assert request.one("expect").lower() == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.note(connection.read_body(request))
        connection.send(ok())
        connection.wait_closed()

    running, behind = pair(handle=handle)
    expecting = [("expect", "100-continue"), ("content-length", "5")]
    with Http2Client(running.edge) as client:
        stream = client.request("POST", "/", expecting, end=False)
        assert client.until(lambda: stream.interim)
        assert stream.interim[0].status == 100
        client.data(stream, b"hello")
        assert client.read(stream).status == 200
    assert behind.requests[0].body == b"hello"


# Refusals


def refused(answer, status, reason):
    assert (answer.status, answer.reason) == (status, reason), answer.outcome
    assert answer.one("content-type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["status"], problem["reason"]) == (status, reason)
    assert answer.one("x-request-id")


def test_refusals_are_answers_and_the_connection_goes_on(pair):
    rule = {"key": "route", "rate": "1/h", "burst": 1}
    running, behind = pair(
        routes=[
            forward(name="limited", match={"path_prefix": "/limited"}, rate_limits=[rule]),
            forward(name="up", match={"path_prefix": "/up"}),
        ],
        listeners=[listener(limits={"request_body_bytes": "1KiB"})],
    )
    with Http2Client(running.edge) as client:
        assert client.get("/limited").status == 200
        refused(client.get("/limited"), 429, "rate_limited")
        refused(client.get("/nowhere"), 404, "route_missing")
        assert client.get("/nowhere", method="HEAD").frames == ["Headers"]
        refused(client.get("/up", method="POST", body=b"x" * 2000), 413, "body_too_large")
        stream = client.request("POST", "/up", end=False)
        client.data(stream, b"x" * 2000)
        refused(client.read(stream), 413, "body_too_large")
        assert client.get("/up").status == 200
        assert not client.goaways
    assert [request.target for request in behind.requests] == ["/limited", "/up"]
    assert running.wait_total(2, "weir_refusals_total", reason="body_too_large") == 2


def test_an_endpoint_out_of_reach_is_told(pair):
    running, behind = pair()
    behind.stop()
    with Http2Client(running.edge) as client:
        for _ in range(3):
            refused(client.get(), 502, "upstream_connect")


# Answers to requests that have not ended


@pytest.mark.parametrize("who", ["weir", "the endpoint"])
def test_an_early_answer_is_whole_and_then_the_rest_of_the_body_is_declined(pair, who):
    """RFC 9113 section 8.1: a complete answer, then RST_STREAM with NO_ERROR."""
    page = blob(100_000)

    def handle(connection):
        while request := connection.read_head():
            if request.method == "POST":
                connection.send(ok(page, "200 OK", ["Connection: close"]))
                connection.wait_closed()
                return
            connection.send(ok())

    running, _ = pair(handle=handle, routes=[forward(match={"path_prefix": "/up"})])
    with Http2Client(running.edge) as client:
        path = "/nowhere" if who == "weir" else "/up"
        stream = client.request("POST", path, [("content-length", "1000000")], end=False)
        client.data(stream, b"x" * 20_000, end=False)
        assert client.until(lambda: stream.has_ended)
        if who == "weir":
            refused(stream, 404, "route_missing")
        else:
            assert (stream.status, stream.body) == (200, page)
        assert client.until(lambda: stream.reset is not None)
        assert stream.reset == NO_ERROR
        # What was under way already is no offence.
        client.send_window -= 10_000
        client.send(frame(DATA, END_STREAM, stream.number, bytes(10_000)))
        assert client.get("/up").status == 200
        assert not client.goaways


# What breaks off


def test_an_endpoint_that_breaks_off_in_a_body_resets_the_stream(pair):
    def handle(connection):
        request = connection.read()
        if request.target == "/broken":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000)
        elif request.target == "/chunks":
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        else:
            connection.send(ok())

    running, _ = pair(handle=handle)
    with Http2Client(running.edge) as client:
        for path in ("/broken", "/chunks"):
            answer = client.get(path)
            assert answer.status in (None, 200) and not answer.has_ended
            assert answer.reset not in (None, NO_ERROR, REFUSED_STREAM)
            assert client.get("/whole").status == 200
    lines = running.wait_log(2, lambda line: line["reason"] == "upstream_reset")
    assert {line["path"] for line in lines} == {"/broken", "/chunks"}


def test_an_endpoint_that_closes_before_its_answer_is_a_502(pair):
    running, _ = pair(lambda request: None)
    with Http2Client(running.edge) as client:
        for _ in range(2):
            refused(client.get(method="POST", body=b"x"), 502, "upstream_reset")


@pytest.mark.parametrize("when", ["before the answer", "in the answer", "in the request"])
def test_a_client_that_cancels_frees_the_endpoint_and_nothing_else(pair, when):
    came, seen = threading.Event(), threading.Event()

    def handle(connection):
        request = connection.read_head()
        if request is None:
            return
        if request.target == "/other":
            seen.wait(patience(15))
            connection.send(ok(b"other"))
            return
        came.set()
        if when == "in the answer":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello")
        connection.wait_closed()
        seen.set()

    running, behind = pair(handle=handle)
    with Http2Client(running.edge) as client:
        other = client.request(path="/other")
        stream = client.request("POST", "/", [("content-length", "100000")], end=False)
        if when == "in the request":
            client.data(stream, b"x" * 20_000, end=False)
        else:
            client.data(stream, b"x" * 100_000)
        behind.wait(lambda: len(behind.connections) == 2, "both requests came")
        assert came.wait(patience(15))
        if when == "in the answer":
            assert client.until(lambda: stream.body == b"hello")
        client.cancel(stream, CANCEL)
        assert seen.wait(patience(15)), "the endpoint of the cancelled stream is let go"
        assert client.read(other).body == b"other"
    (line,) = running.wait_log(1, lambda line: line["path"] == "/")
    assert (line["reason"], line["ended_by"]) == ("client_gone", "client")


def test_a_client_that_leaves_cancels_all_its_streams(pair):
    running, behind = pair(handle=lambda connection: (connection.read(), connection.wait_closed()))
    before = running.open_files
    with Http2Client(running.edge) as client:
        for _ in range(30):
            client.request()
        behind.wait_requests(30)
    lines = running.wait_log(30)
    assert {line["reason"] for line in lines} == {"client_gone"}
    until(lambda: running.open_files <= before, "all descriptors are free again")
    assert all(connection.is_closed.wait(patience(15)) for connection in behind.connections)
    assert running.total("http_requests_in_flight") == 0
