"""HTTP/2 to endpoints that fail: streams and connections that end, answers that are broken."""

import itertools
import threading

import pytest

from harness import Client, cluster, configuration, forward, ok, patience, until
from harness.calls import outcome
from harness.http2 import (
    CANCEL,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    LARGEST,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Client,
    frame,
    settings_of,
    word,
)


def settings(*behind, route=None, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    return configuration(clusters, [forward(**(route or {}))], runtime={"workers": 1})


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint that speaks HTTP/2."""

    def start(answer=None, behind=None, **options):
        behind = http2_upstream(answer, **(behind or {}))
        return weir(settings(behind, **options)), behind

    return start


class Gate:
    """Calls to /held are answered once the gate is open, others at once or as they are told."""

    def __init__(self, answer=None):
        self.open = threading.Event()
        self.answer = answer or (lambda call: call.respond())

    def __call__(self, call):
        if call.path != "/held":
            return self.answer(call)
        assert self.open.wait(patience(30))
        call.respond(body=b"held")


# Streams that end


@pytest.mark.parametrize("code", [NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL])
def test_a_stream_that_is_reset_before_its_answer(site, code):
    gate = Gate(lambda call: call.reset(code) if call.path == "/bad" else call.respond())
    running, behind = site(gate)
    with Http2Client(running.edge) as client:
        held = client.request(path="/held")
        behind.wait_requests(1)
        answer = running.get("/bad", method="POST", body=b"x")
        assert outcome(answer) == (502, "upstream_reset")
        assert running.get("/good").status == 200
        gate.open.set()
        assert client.read(held).body == b"held"
    assert len(behind.connections) == 1 and len(behind.requests) == 3
    assert running.wait_total(1, "upstream_failures_total", reason="reset") == 1


def test_a_stream_that_is_reset_was_heard_and_is_not_sent_again(site):
    """A connection that was used before may have gone; this one has said something."""
    running, behind = site(lambda call: call.respond() if call.path == "/" else call.reset(2))
    assert running.get().status == 200
    assert outcome(running.get("/bad")) == (502, "upstream_reset")
    assert [call.path for call in behind.requests] == ["/", "/bad"]
    assert running.total("upstream_replays_total") == 0


@pytest.mark.parametrize("length", [True, False])
def test_a_stream_that_is_reset_in_its_answer(site, length):
    def answer(call):
        if call.path == "/":
            return call.respond()
        call.head([(":status", "200")] + ([("content-length", "1000")] if length else []))
        call.data(b"half", end=False)
        call.wait(lambda: go.is_set(), "the client has it")
        call.reset(INTERNAL_ERROR)

    go = threading.Event()
    running, behind = site(answer)
    with Http2Client(running.edge) as client:
        stream = client.request(path="/bad")
        client.until(lambda: stream.length == 4)
        go.set()
        assert client.read(stream).reset == INTERNAL_ERROR
        assert client.get().status == 200
    with running.client() as client:
        client.request(path="/bad")
        with pytest.raises(Exception, match="closed in the middle"):
            client.read()
    assert running.get().status == 200
    assert len(behind.connections) == 1
    for line in running.wait_log(2, lambda line: line["path"] == "/bad"):
        assert line["reason"] == "upstream_reset"


BODIES = [("GET", None), ("POST", None), ("POST", b"x" * 10_000)]


@pytest.mark.parametrize("method, body", BODIES)
def test_what_is_refused_is_sent_again_once(site, method, body):
    places = itertools.count()

    def answer(call):
        if call.path == "/refused" and next(places) == 0:
            return call.reset(REFUSED_STREAM)
        call.respond(body=bytes(call.body) or b"ok")

    running, behind = site(answer)
    assert running.get().status == 200
    answer = running.get("/refused", method=method, body=body)
    assert (answer.status, answer.body) == (200, body or b"ok")
    assert [call.path for call in behind.requests] == ["/", "/refused", "/refused"]
    assert [bytes(call.body) for call in behind.requests[1:]] == [body or b""] * 2
    assert running.wait_total(1, "upstream_replays_total") == 1
    assert running.wait_log(2)[1]["reason"] is None


def test_what_is_refused_twice_fails(site):
    running, behind = site(lambda call: call.reset(REFUSED_STREAM))
    assert outcome(running.get()) == (502, "upstream_reset")
    assert len(behind.requests) == 2


def test_what_is_refused_can_be_retried(weir, http2_upstream):
    refuses, good = http2_upstream(lambda call: call.reset(REFUSED_STREAM)), http2_upstream()
    policy = {"on": ["refused_stream"], "attempts": 2, "backoff": {"base": "1ms", "max": "2ms"}}
    policy["budget"] = {"percent": 100, "min_per_second": 10}
    made = settings(refuses, good, route={"retry": "safe"}) | {"retry_policies": {"safe": policy}}
    running = weir(made)
    assert [running.get(method="POST", body=b"x").status for _ in range(6)] == [200] * 6


# GOAWAY


@pytest.mark.parametrize("method, body", BODIES)
def test_what_goaway_leaves_out_is_sent_again(site, method, body):
    def answer(call):
        if call.path == "/late" and call.connection.number == 0:
            return call.connection.goaway(call.number - 2)
        gate(call)

    gate = Gate()
    running, behind = site(answer)
    with Http2Client(running.edge) as client:
        held = client.request(path="/held")
        behind.wait_requests(1)
        assert running.get("/late", method=method, body=body).status == 200
        assert [call.connection.number for call in behind.requests] == [0, 0, 1]
        gate.open.set()
        assert client.read(held).body == b"held"
    behind.connections[0].wait_closed()
    assert running.get().status == 200
    assert len(behind.connections) == 2


@pytest.mark.parametrize("last", [None, LARGEST])
def test_goaway_lets_calls_finish_and_others_go_elsewhere(site, last):
    gate = Gate()
    running, behind = site(gate)
    with Http2Client(running.edge) as client:
        held = [client.request(path="/held") for _ in range(3)]
        behind.wait_requests(3)
        first = behind.connections[0]
        first.goaway(last)
        first.send(frame(6, payload=b"in order"))
        behind.wait(lambda: first.pongs, "GOAWAY has come")
        for _ in range(3):
            assert running.get().status == 200
        assert len(first.calls) == 3 and len(behind.connections) == 2
        gate.open.set()
        assert [client.read(stream).body for stream in held] == [b"held"] * 3
    first.wait_closed()
    assert running.get().status == 200
    assert len(behind.connections) == 2


def test_goaway_with_every_answer(site):
    def answer(call):
        call.connection.goaway()
        call.respond()

    running, behind = site(answer)
    for _ in range(10):
        assert running.get(method="POST", body=b"x").status == 200
    assert len(behind.connections) == 10
    for connection in behind.connections:
        connection.wait_closed()


def test_goaway_with_an_error_ends_the_connection(site):
    def answer(call):
        if call.path == "/bad":
            call.connection.goaway(0, ENHANCE_YOUR_CALM)
            return call.connection.cut()
        call.respond()

    running, behind = site(answer)
    assert outcome(running.get("/bad", method="POST")) == (502, "upstream_reset")
    assert len(behind.requests) == 2, "beyond its last: it was sent again, once"
    assert running.get().status == 200


# Broken answers

BROKEN = {
    "upper case": [(":status", "200"), ("X-Upper", "1")],
    "no status": [("x-a", "1")],
    "a status of letters": [(":status", "abc")],
    "two statuses": [(":status", "200"), (":status", "200")],
    "a late status": [("x-a", "1"), (":status", "200")],
    "a pseudo field of requests": [(":status", "200"), (":path", "/")],
    "connection": [(":status", "200"), ("connection", "close")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "a line feed": [(":status", "200"), ("x-a", "1\r\nx-b: 2")],
    "a nul": [(":status", "200"), ("x-a", "1\0")],
    "a name with a blank": [(":status", "200"), ("x a", "1")],
    "101": [(":status", "101")],
    "two lengths": [(":status", "200"), ("content-length", "2"), ("content-length", "3")],
    "no number": [(":status", "200"), ("content-length", "-1")],
    "longer than its body": [(":status", "200"), ("content-length", "3")],
    "a huge head": [(":status", "200"), *((f"x-{n}", "y" * 1000) for n in range(100))],
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_ends_its_stream_alone(site, case):
    gate = Gate(lambda call: call.head(BROKEN[case], end=True) if call.path == "/bad" else None)
    running, behind = site(gate)
    with Http2Client(running.edge) as client:
        held = client.request(path="/held")
        behind.wait_requests(1)
        assert outcome(running.get("/bad")) == (502, "upstream_protocol")
        gate.open.set()
        assert client.read(held).body == b"held"
    assert len(behind.connections) == 1 and len(behind.requests) == 2
    assert running.wait_total(1, "upstream_failures_total", reason="protocol") == 1


@pytest.mark.parametrize("body", [b"too long", b"x"])
def test_a_body_unlike_its_length_is_no_whole_answer(site, body):
    def answer(call):
        call.head([(":status", "200"), ("content-length", "5")])
        call.data(body)

    running, behind = site(answer)
    with running.client() as client:
        client.request()
        try:
            answer = client.read()
            assert answer is None or outcome(answer) == (502, "upstream_protocol")
        except Exception as error:
            assert "closed in the middle" in str(error)
    with Http2Client(running.edge) as client:
        answer = client.get()
        assert answer.reset or outcome(answer) == (502, "upstream_protocol")
    assert len(behind.connections) == 1
    assert {line["reason"] for line in running.wait_log(2)} == {"upstream_protocol"}


TRAILERS = {
    "a status": [(":status", "200")],
    "connection": [("connection", "close")],
    "upper case": [("X-Upper", "1")],
    "content-length": [("content-length", "3")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
}


@pytest.mark.parametrize("case", TRAILERS)
def test_broken_trailers_end_no_whole_answer(site, case):
    def answer(call):
        if call.path == "/":
            return call.respond()
        call.head([(":status", "200")])
        call.data(b"hello", end=False)
        call.head(TRAILERS[case], end=True)

    running, behind = site(answer)
    with running.client() as client:
        client.request(path="/bad")
        with pytest.raises(Exception, match="closed in the middle"):
            client.read()
    with Http2Client(running.edge) as client:
        answer = client.get("/bad")
        assert answer.reset == INTERNAL_ERROR and not answer.trailers
        assert client.get().status == 200
    assert {line["reason"] for line in running.wait_log(3)} == {"upstream_protocol", None}
    assert len(behind.connections) == 1


def broken_frames(call):
    return {
        "DATA on no stream": frame(DATA, 0, 0, b"x"),
        "HEADERS that are no HPACK": frame(HEADERS, 0x5, call.number, b"\xff" * 20),
        "HEADERS of a stream that is not": frame(HEADERS, 0x5, call.number + 100, b"\x88"),
        "HEADERS of a stream of its own": frame(HEADERS, 0x5, 2, b"\x88"),
        "a window of no size": frame(WINDOW_UPDATE, 0, 0, word(0)),
        "windows that overflow": frame(WINDOW_UPDATE, 0, 0, word(LARGEST)),
        "SETTINGS on a stream": frame(SETTINGS, 0, call.number, b""),
        "SETTINGS out of bounds": frame(SETTINGS, payload=settings_of({5: 1})),
        "a frame that is too large": frame(DATA, 0, call.number, bytes(20_000)),
        "PUSH_PROMISE": frame(5, 0x4, call.number, word(2) + b"\x82"),
        "a short GOAWAY": frame(GOAWAY, payload=b"x"),
        "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    }


FRAMES = list(broken_frames(type("Any", (), {"number": 1})))


@pytest.mark.parametrize("case", FRAMES)
def test_a_broken_connection_is_given_up(site, case):
    def answer(call):
        if call.path == "/bad":
            return call.connection.send(broken_frames(call)[case])
        call.respond()

    running, behind = site(answer)
    answer = running.get("/bad", method="POST", body=b"x")
    assert answer.status == 502
    assert answer.reason in ("upstream_protocol", "upstream_reset")
    assert running.get().status == 200
    behind.connections[0].wait_closed()
    assert len(behind.connections) == 2


# Connections that end


@pytest.mark.parametrize("count", [1, 10])
def test_a_connection_that_closes_takes_its_calls_with_it(site, count):
    def answer(call):
        if call.path != "/bad":
            return call.respond()
        behind.wait_requests(count)
        call.connection.cut()

    running, behind = site(answer)
    with Http2Client(running.edge) as client:
        lead = [client.request("POST", "/bad", body=b"x") for _ in range(count)]
        for stream in lead:
            assert outcome(client.read(stream)) == (502, "upstream_reset")
        assert client.get().status == 200
    assert len(behind.connections) == 2


def test_a_connection_that_closes_in_an_answer(site):
    def answer(call):
        if call.path == "/":
            return call.respond()
        call.head([(":status", "200")])
        call.data(b"half", end=False)
        call.connection.cut()

    running, behind = site(answer)
    with running.client() as client:
        client.request(path="/bad")
        with pytest.raises(Exception, match="closed in the middle"):
            client.read()
    with Http2Client(running.edge) as client:
        assert client.get("/bad").reset == INTERNAL_ERROR
        assert client.get().status == 200


def test_a_kept_connection_that_closes_as_it_is_used(site):
    """A safe request is sent once more, over a new one."""

    def answer(call):
        if call.path == "/bad" and call.connection.number == 0:
            return call.connection.cut()
        call.respond()

    running, behind = site(answer)
    assert running.get().status == 200
    assert running.get("/bad").status == 200
    assert [call.connection.number for call in behind.requests] == [0, 0, 1]


# Endpoints that speak something else, or nothing


def test_an_endpoint_that_speaks_http_1(weir, upstream):
    def handle(connection):
        connection.fill()
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.wait_closed()

    behind = upstream(handle=handle)
    running = weir(settings(behind))
    for _ in range(3):
        answer = running.get()
        assert answer.status == 502
        assert answer.reason in ("upstream_protocol", "upstream_reset", "upstream_connect")
    behind.wait(lambda: all(each.is_closed.is_set() for each in behind.connections), "closed")


def test_an_endpoint_that_says_nothing(site):
    running, behind = site(behind={"is_mute": True}, route={"timeout": "300ms"})
    assert outcome(running.get()) == (504, "upstream_timeout")
    behind.connections[0].wait_closed()
    assert outcome(running.get()) == (504, "upstream_timeout")


def test_an_endpoint_that_does_not_listen(weir, upstream):
    behind = upstream(lambda request: ok())
    running = weir(settings(behind.address))
    behind.stop()
    assert outcome(running.get()) == (502, "upstream_connect")


# Clients that leave


@pytest.mark.parametrize("has_head", [True, False])
@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_a_client_that_leaves_cancels_its_call_alone(site, kind, has_head):
    def answer(call):
        if call.path == "/left":
            if has_head:
                call.head([(":status", "200")])
                call.data(b"half", end=False)
            return call.wait_reset()
        gate(call)

    gate = Gate()
    running, behind = site(answer)
    with Http2Client(running.edge) as other:
        held = other.request(path="/held")
        behind.wait_requests(1)
        client = kind(running.edge)
        stream = client.request(path="/left")
        left = behind.wait_requests(2)[1]
        if has_head:
            assert client.until(lambda: stream.length) if stream else client.read_head()
        # An end alone might be of what the client sends.
        client.close() if stream else client.reset()
        assert left.wait_reset() == CANCEL
        gate.open.set()
        assert other.read(held).body == b"held"
    assert running.get().status == 200
    assert len(behind.connections) == 1 and not behind.connections[0].goaways
    (line,) = running.wait_log(1, lambda line: line["path"] == "/left")
    assert line["reason"] == "client_gone"
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")


def test_a_stream_that_its_client_resets_is_cancelled(site):
    def answer(call):
        return call.wait_reset() if call.path == "/left" else call.respond()

    running, behind = site(answer)
    with Http2Client(running.edge) as client:
        for number in range(1, 11):
            stream = client.request(path="/left")
            behind.wait_requests(number)
            client.cancel(stream)
        assert {call.wait_reset() for call in behind.requests} == {CANCEL}
        assert client.get().status == 200
    assert len(behind.connections) == 1


# What does not go through


def test_upgrades_are_not_for_endpoints_of_http_2(site):
    running, behind = site()
    with running.client() as client:
        client.request(headers=["Connection: upgrade", "Upgrade: websocket"])
        assert outcome(client.read()) == (501, "not_implemented")
    with Http2Client(running.edge) as client:
        fields = client.fields("CONNECT", "/chat", [(":protocol", "websocket")])
        answer = client.read(client.open(sorted(fields, key=lambda field: field[0][0] != ":")))
        assert outcome(answer) == (501, "not_implemented")
        assert client.get().status == 200
    assert [call.method for call in behind.requests] == ["GET"]
