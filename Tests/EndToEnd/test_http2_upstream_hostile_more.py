"""Answers of HTTP/2 endpoints that end late, never, or otherwise than they say.

No client reads what is not meant for it, and nothing is held for them.
"""

import random
import threading

import pytest

from harness import Client, Incomplete, cluster, configuration, patience, until
from harness.calls import after_all, named, outcome
from harness.http2 import (
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    HEADERS,
    Http2Client,
    frame,
)
from harness.tunnels import New, Old

MIB = 1 << 20
BYTES = random.Random(2).randbytes(6 * MIB)


def settings(*behind, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    return configuration(clusters, runtime={"workers": 1})


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint that speaks HTTP/2."""

    def start(answer=named, behind=None, **options):
        behind = http2_upstream(answer, **(behind or {}))
        return weir(settings(behind, **options)), behind

    return start


# Tunnels that are refused


SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
#: The parts of a body whose length is said to be 5.
REFUSALS = {
    "more at once": [b"hello" + SURPLUS],
    "more later": [b"hello", SURPLUS],
    "more after less": [b"he", b"llo" + SURPLUS],
    "one more": [b"hello!"],
    "less": [b"hel"],
    "nothing": [b""],
}


#: Those that are too short only once they end.
OPEN = [(case, False) for case in REFUSALS if "more" in case]


@pytest.mark.parametrize("case, ends", [*OPEN, *((case, True) for case in REFUSALS)])
@pytest.mark.parametrize("kind", [Old, New])
def test_a_refusal_longer_or_shorter_than_it_says_is_cut_off(site, kind, case, ends):
    """What follows it is never the answer to the next request."""
    go = threading.Event()

    def answer(call):
        if call.method != "CONNECT":
            return named(call)
        parts = REFUSALS[case]
        call.head([(":status", "403"), ("content-length", "5")])
        for place, part in enumerate(parts):
            if place:
                go.wait(patience(15))
            call.data(part, end=ends and place == len(parts) - 1)

    offer = {"settings": {ENABLE_CONNECT_PROTOCOL: 1}, "early": True}
    running, _ = site(answer, offer)
    tunnel = kind(running.edge)
    if kind is New:
        fields = tunnel.client.fields("CONNECT", "/chat", [("sec-websocket-version", "13")])
        stream = tunnel.client.open([fields[0], (":protocol", "websocket"), *fields[1:]], end=False)
        tunnel.client.until(lambda: stream.status or stream.is_over)
        go.set()
        tunnel.client.until(lambda: stream.is_over)
        assert stream.reset is not None or outcome(stream) == (502, "upstream_protocol")
        assert outcome(stream) == (502, "upstream_protocol") or b"hello".startswith(stream.body)
        assert tunnel.get("/next").body == b"/next"
    else:
        if len(REFUSALS[case][0]) < 5:
            go.set()
        try:
            answer = tunnel.ask()
            assert answer is None or outcome(answer) in ((403, None), (502, "upstream_protocol"))
            if answer and answer.status == 403:
                assert answer.body == b"hello"
        except Incomplete as error:
            assert b"evil" not in error.got
        go.set()
        # Whatever is read now is an answer to this, or nothing.
        try:
            following = tunnel.get("/next")
        except (Incomplete, OSError) as error:
            following = None
            assert b"evil" not in getattr(error, "got", b"")
        assert following is None or following.body == b"/next"
    tunnel.close()
    (line,) = running.wait_log(1, lambda line: line["path"] == "/chat")
    assert line["reason"] == "upstream_protocol"
    assert running.get("/after").body == b"/after"


def test_a_refusal_of_its_length_is_whole(site):
    """The same connection is used for what follows."""

    def answer(call):
        if call.method != "CONNECT":
            return named(call)
        call.head([(":status", "403"), ("content-length", "5")])
        call.data(b"he", end=False)
        call.data(b"llo", end=False)
        call.data()

    running, _ = site(answer, {"settings": {ENABLE_CONNECT_PROTOCOL: 1}, "early": True})
    for kind in (Old, New):
        tunnel = kind(running.edge)
        answer = tunnel.ask()
        assert (answer.status, bytes(answer.body)) == (403, b"hello")
        if kind is New:
            assert tunnel.get("/next").body == b"/next"
        tunnel.close()
    assert {line["reason"] for line in running.wait_log(3)} == {None}


# Answers whose end comes later than it could


class Late:
    """Answers with a head and the parts of a body, and ends once its client has had all of it."""

    def __init__(self, fields, parts=(), trailers=None):
        self.fields, self.parts, self.trailers = fields, parts, trailers
        self.go = threading.Semaphore(0)

    def __call__(self, call):
        if call.path == "/next":
            return call.respond(body=b"next")
        call.head(self.fields)
        for part in self.parts:
            call.data(part, end=False)
        self.go.acquire(timeout=patience(30))
        if self.trailers:
            call.head(self.trailers, end=True)
        else:
            call.data()


def check_whole(running, behind, count, status):
    """Each was logged as answered, and no endpoint heard that it was not wanted."""
    assert len(behind.connections) == 1
    after_all(behind.connections[0])
    assert [call.reset_code for call in behind.requests] == [None] * len(behind.requests)
    lines = running.wait_log(count, lambda line: line["path"] != "/next")
    assert {(line["status"], line["reason"]) for line in lines} == {(status, None)}
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")


@pytest.mark.parametrize("kind", [Client, Http2Client])
@pytest.mark.parametrize("size", [1, 5, 16_384, 65_535, 70_000, 5 * MIB])
def test_an_answer_of_known_length_that_ends_later_is_whole(site, kind, size):
    body = BYTES[:size]
    late = Late([(":status", "200"), ("content-length", str(size))], [body])
    running, behind = site(late)
    with kind(running.edge, seconds=40) as client:
        for _ in range(3):
            if kind is Http2Client:
                stream = client.request()
                client.until(lambda stream=stream: stream.length == size or stream.is_over)
                late.go.release()
                answer = client.read(stream)
                assert answer.has_ended and answer.reset is None
                assert client.get("/next").body == b"next"
            else:
                client.request()
                answer = client.read()
                late.go.release()
                client.request(path="/next")
                assert client.read().body == b"next"
            assert (answer.status, bytes(answer.body) == body) == (200, True)
        check_whole(running, behind, 3, 200)


@pytest.mark.parametrize("size", [0, 5, 65_535, 3 * MIB])
def test_trailers_come_behind_an_answer_of_known_length(site, size):
    fields = [(":status", "200"), ("content-length", str(size)), ("trailer", "x-sum")]
    late = Late(fields, [BYTES[:size]] if size else [], [("x-sum", "abc"), ("grpc-status", "0")])
    running, behind = site(late)
    with Http2Client(running.edge, seconds=40) as client:
        for _ in range(3):
            stream = client.request()
            late.go.release()
            answer = client.read(stream)
            assert answer.reset is None and len(answer.body) == size
            if size:
                assert answer.trailers == [("x-sum", "abc"), ("grpc-status", "0")]
            assert client.get("/next").body == b"next"
    check_whole(running, behind, 3, 200)


BODILESS = {
    "HEAD": ("HEAD", "200", [("content-length", "1000")]),
    "HEAD of nothing": ("HEAD", "200", []),
    "204": ("GET", "204", []),
    "204 to DELETE": ("DELETE", "204", []),
    "304": ("GET", "304", [("etag", '"a"')]),
    "304 with a length": ("GET", "304", [("content-length", "1000")]),
    "a length of none": ("GET", "200", [("content-length", "0")]),
    "a length of none to POST": ("POST", "201", [("content-length", "0")]),
}


@pytest.mark.parametrize("kind", [Client, Http2Client])
@pytest.mark.parametrize("is_late", [True, False], ids=["later", "at once"])
@pytest.mark.parametrize("case", BODILESS)
def test_an_answer_without_a_body_that_ends_in_a_frame_of_its_own(site, kind, is_late, case):
    method, status, fields = BODILESS[case]
    late = Late([(":status", status), *fields])
    running, behind = site(late)
    body = b"x" * 100 if method == "POST" else None
    with kind(running.edge, seconds=40) as client:
        for _ in range(5):
            if not is_late:
                late.go.release()
            stream = client.request(method, "/", body=body)
            if stream:
                client.until(lambda stream=stream: stream.status or stream.is_over)
            answer = stream or client.read(method)
            if is_late:
                late.go.release()
            if stream:
                client.read(stream)
                assert stream.has_ended and stream.reset is None, stream.outcome
            assert (answer.status, bytes(answer.body)) == (int(status), b"")
            again = client.request(path="/next")
            assert (client.read(again) if again else client.read()).body == b"next"
        check_whole(running, behind, 5, int(status))


@pytest.mark.parametrize("case", ["HEAD", "204", "304", "a length of none"])
def test_answers_whose_end_never_comes_do_not_use_up_connections(site, case):
    """They are whole as they are, and those streams may not fill connection after connection."""
    method, status, fields = BODILESS[case]
    running, behind = site(lambda call: call.head([(":status", status), *fields]))
    with Http2Client(running.edge) as client:
        for _ in range(450):
            answer = client.get(method=method)
            assert (answer.status, answer.has_ended) == (int(status), True)
    assert sum(not connection.is_over for connection in behind.connections) <= 3
    assert running.total("upstream_connections", state="active") <= 3


# Interim answers without end

HINT = ("link", "</style.css>; rel=preload; x=" + "y" * 3900)


def endless(call):
    """Interim heads of a few bytes, which unfold to 4 KiB each."""
    connection = call.connection
    fields = [(":status", "103"), HINT]
    with connection.lock:
        call.head(fields)
        block = connection.encoder.encode(fields)
        assert len(block) < 20, "it is in the table"
        heads = frame(HEADERS, END_HEADERS, call.number, block) * 100
        for _ in range(1000):
            if not call.is_open or connection.is_over:
                return
            connection.lock.release()
            try:
                connection.send(heads)
            finally:
                connection.lock.acquire()


@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_interim_answers_without_end_are_none(site, kind):
    running, _ = site(lambda call: endless(call) if call.path == "/endless" else named(call))
    sizes = []
    with kind(running.edge, seconds=40) as client:
        for _ in range(12):
            stream = client.request(path="/endless")
            answer = client.read(stream) if stream else client.read()
            assert outcome(answer) == (502, "upstream_protocol")
            assert len(answer.interim) <= 16
            stream = client.request(path="/good")
            answer = client.read(stream) if stream else client.read()
            # The client goes on. The endpoint's connection may end just then, with what was sent on
            # it; what was not is sent over another one.
            assert answer.body == b"/good" or outcome(answer) == (502, "upstream_protocol")
            sizes.append(running.resident)
    assert sizes[-1] - sizes[3] < 4 << 20, sizes
    assert {line["reason"] for line in running.wait_log(24)} <= {"upstream_protocol", None}
    running.wait_total(12, "upstream_failures_total", reason="protocol")
    assert running.get("/after").body == b"/after"


@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_sixteen_interim_answers_pass(site, kind):
    taken = threading.Semaphore(0)

    def answer(call):
        for number in range(16):
            call.interim(103, [("x-number", str(number))])
            taken.acquire(timeout=patience(15))
        named(call)

    running, _ = site(answer)
    with kind(running.edge) as client:
        for _ in range(3):
            stream = client.request(path="/hints")
            if stream:
                for count in range(1, 17):
                    client.until(lambda count=count: len(stream.interim) >= count or stream.is_over)
                    taken.release()
                answer = client.read(stream)
            else:
                # Those of HTTP/1 take them together with what follows.
                taken.release(16)
                answer = client.read()
            assert (answer.status, answer.body) == (200, b"/hints")
            assert [each.one("x-number") for each in answer.interim] == [str(n) for n in range(16)]
