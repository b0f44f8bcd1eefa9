"""Bodies that endpoints of HTTP/2 refuse or do not want, and calls of gRPC that are none.

No endpoint gets a body with a hole, and none pays for what a client calls itself.
"""

import hashlib
import random
import threading

import pytest

from harness import (
    Client,
    Incomplete,
    cluster,
    configuration,
    forward,
    listener,
    ok,
    patience,
    until,
)
from harness.calls import after_all, named, outcome
from harness.http2 import CANCEL, INITIAL_WINDOW_SIZE, NO_ERROR, Http2Client

MIB = 1 << 20
BYTES = random.Random(2).randbytes(2 * MIB)
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
MESSAGE = b"\0\0\0\0\1y"


def settings(*behind, route=None, limits=None, runtime=None, **options):
    clusters = [cluster("main", *behind, **({"http2": True} | options))]
    listeners, runtime = [listener(limits=limits)], {"workers": 1} | (runtime or {})
    return configuration(clusters, [forward(**(route or {}))], listeners, runtime)


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint that speaks HTTP/2."""

    def start(answer=named, behind=None, **options):
        behind = http2_upstream(answer, **(behind or {}))
        return weir(settings(behind, **options)), behind

    return start


# Answers before their requests


@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_answers_to_bodies_for_which_there_is_no_window_hold_nothing_up(site, kind):
    """What waits of each body is let go of with its answer."""
    running, behind = site(
        lambda call: call.respond(body=call.path.encode()),
        {"settings": {INITIAL_WINDOW_SIZE: 0}, "early": True, "windows": False},
        runtime={"buffer_memory": "2MiB"},
    )
    heap = []
    with kind(running.edge, seconds=40) as client:
        for number in range(300):
            stream = client.request("POST", f"/{number}", body=bytes(15_000))
            answer = client.read(stream) if stream else client.read()
            assert (answer.status, bytes(answer.body)) == (200, b"/%d" % number)
            if number % 50 == 49:
                heap.append(running.total("weir_heap_bytes"))
    assert heap[-1] - heap[1] < MIB, heap
    assert len(behind.requests) == 300
    assert {call.length for call in behind.requests} == {0}
    after_all(behind.connections[-1])
    assert {call.reset_code for call in behind.requests} <= {NO_ERROR, CANCEL}
    assert len(behind.connections) <= 5
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")


def test_many_such_answers_at_once(site):
    """All their bodies together are more than a connection may hold for its endpoint."""
    go = threading.Event()

    def answer(call):
        go.wait(patience(30))
        call.respond(body=call.path.encode())

    running, behind = site(
        answer, {"settings": {INITIAL_WINDOW_SIZE: 0}, "early": True, "windows": False}
    )
    for _ in range(4):
        go.clear()
        before = len(behind.requests)
        with Http2Client(running.edge, seconds=40) as client:
            streams = [client.request("POST", f"/{n}", body=bytes(9000)) for n in range(90)]
            behind.wait_requests(before + 90)
            go.set()
            for number, stream in enumerate(streams):
                assert client.read(stream).body == b"/%d" % number
    assert running.get("/after").body == b"/after"
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")




# Bodies whose attempt is refused in their middle


PART = 3000


class Refusing:
    """Takes a part of each body on its first connection, and then has not looked at it."""

    def __init__(self):
        self.refused, self.came = {}, threading.Condition()

    def __call__(self, call):
        first = call.path not in self.refused
        self.refused.setdefault(call.path, call)
        if first:
            call.wait(lambda: call.length >= PART or call.has_ended, "a part of it comes")
            call.connection.goaway(call.number - 2 if call.number > 1 else 0)
            return
        connection = call.connection
        connection.open_window(call, 2 * MIB)
        connection.open_window(None, 2 * MIB)
        call.wait_end()
        call.respond(body=hashlib.sha256(call.body).hexdigest().encode())


def upload(client, path, body, has_length, refusal):
    """Sends half of a body, waits for the refusal where it is to come then, and sends the rest."""
    lead = [("content-length", str(len(body)))] if has_length else []
    half = len(body) // 2
    if isinstance(client, Http2Client):
        stream = client.request("POST", path, lead, end=False)
        client.data(stream, body[:half], end=False)
        refusal()
        client.data(stream, body[half:])
        return client.read(stream)
    wrap = bytes if has_length else lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece)
    lead = lead or [("transfer-encoding", "chunked")]
    client.request("POST", path, [f"{name}: {value}" for name, value in lead])
    client.send(wrap(body[:half]))
    refusal()
    # An answer may come, and the connection be closed, before all of it is sent.
    try:
        for at in range(half, len(body), 10_000):
            client.send(wrap(body[at : at + 10_000]))
        client.send(b"" if has_length else b"0\r\n\r\n")
    except OSError:
        pass
    return client.read()


@pytest.mark.parametrize("is_between", [True, False], ids=["between", "behind"])
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("kind", [Client, Http2Client])
@pytest.mark.parametrize("gathered", [0, 16, 64, 512])
def test_a_body_that_is_refused_in_its_middle_never_has_a_hole(
    site, kind, has_length, is_between, gathered
):
    """The refusal comes while more of it is to come, or behind all that there is room for."""
    refusing = Refusing()
    running, behind = site(
        refusing,
        {"settings": {INITIAL_WINDOW_SIZE: PART}, "early": True, "windows": False},
        route={"request_buffer": f"{gathered}KiB", "timeout": "30s"},
    )
    kept = gathered << 10
    sizes = {PART + 1, 10_000, 16_384, 16_385, 64 << 10, kept - 1, kept, kept + 1, 700_000}
    for size in sorted(size for size in sizes if size > PART):
        body = BYTES[size : 2 * size]
        path = f"/{size}"

        def refusal():
            # What is smaller than the buffer is not sent before all of it has come.
            if is_between and size // 2 > max(kept, PART):
                until(lambda: path in refusing.refused, "it is sent")
                call = refusing.refused[path]
                behind.wait(lambda: call.connection.is_over or call.reset_code is not None, "over")

        with kind(running.edge, seconds=40) as client:
            try:
                answer = upload(client, path, body, has_length, refusal)
            except (Incomplete, OSError):
                answer = None
        if answer is None or answer.status is None:
            assert size > kept, "what is kept is sent again"
        elif answer.status == 200:
            assert answer.body == hashlib.sha256(body).hexdigest().encode(), size
        else:
            assert outcome(answer) == (502, "upstream_reset"), size
            assert size > kept, "what is kept is sent again"
    for call in behind.requests:
        body = BYTES[int(call.path[1:]) :][: int(call.path[1:])]
        assert body.startswith(call.body), "a hole"
        assert not call.has_ended or call.body == body, "it ends early"
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")


@pytest.mark.parametrize("is_told", [True, False], ids=["goaway", "reset"])
@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_a_body_whose_connection_breaks_never_has_a_hole(weir, http2_upstream, kind, is_told):
    """weir may learn of it as it sends the next part, all of which are kept for another attempt."""
    broken = set()

    def answer(call):
        if call.path not in broken and call.path != "/warm":
            broken.add(call.path)
            call.wait(lambda: call.length >= PART or call.has_ended, "a part of it comes")
            if is_told:
                call.connection.goaway(call.number - 2)
            return call.connection.cut()
        call.wait_end()
        call.respond(body=hashlib.sha256(call.body).hexdigest().encode())

    behind = http2_upstream(answer, settings={INITIAL_WINDOW_SIZE: MIB}, early=True)
    policy = {
        "on": ["refused_stream", "reset_before_response"],
        "attempts": 2,
        "methods": ["POST"],
        "body_buffer": "1MiB",
        "backoff": {"base": "1ms", "max": "2ms"},
        "budget": {"percent": 100, "min_per_second": 100},
    }
    made = settings(behind, route={"request_buffer": "0B", "retry": "again"})
    running = weir(made | {"retry_policies": {"again": policy}})
    seen = set()
    for number in range(30):
        assert running.get("/warm").status == 200
        size = 4000 + number * 20_000
        body, path = BYTES[number:][:size], f"/{number}"
        with kind(running.edge, seconds=40) as client:
            try:
                answer = upload(client, path, body, True, lambda: None)
            except (Incomplete, OSError):
                answer = None
        if answer and answer.status == 200:
            assert answer.body == hashlib.sha256(body).hexdigest().encode(), number
            seen.add(200)
        elif answer and answer.status:
            assert outcome(answer) == (502, "upstream_reset")
    assert seen == {200}
    for call in behind.requests:
        if call.path != "/warm":
            body = BYTES[int(call.path[1:]) :]
            assert body.startswith(call.body), "a hole"
            assert not call.has_ended or call.length == 4000 + int(call.path[1:]) * 20_000
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")


# What calls itself gRPC


def ask_as_grpc(running, body=MESSAGE, **options):
    with Http2Client(running.edge) as client:
        return client.get("/any", GRPC, method="POST", body=body, **options)


@pytest.mark.parametrize("is_http2", [True, False], ids=["http2", "http1"])
@pytest.mark.parametrize("has_body", [True, False])
def test_a_client_that_calls_itself_grpc_ejects_nobody(
    weir, upstream, http2_upstream, is_http2, has_body
):
    """Endpoints that know nothing of gRPC answer it like any request."""
    page, fields = (b"<p>" if has_body else b""), [("content-type", "text/html")]
    if is_http2:
        behind = [http2_upstream(lambda call: call.respond(body=page, fields=fields)) for _ in "ab"]
    else:
        behind = [upstream(lambda request: ok(page, content_type="text/html")) for _ in "ab"]
    outlier = {"consecutive_5xx": 5, "base_ejection_time": "60s", "max_ejection_percent": 100}
    running = weir(settings(*behind, http2=is_http2, outlier_detection=outlier))
    for _ in range(40):
        answer = ask_as_grpc(running)
        assert (answer.status, bytes(answer.body)) == (200, page)
    states = [each["state"] for each in running.status()["clusters"][0]["endpoints"]]
    assert states == ["available"] * 2
    assert [len(each.requests) for each in behind] == [20, 20]


SHORT = f"{int(patience(400))}ms"


@pytest.mark.parametrize("size", [0, 6, 3000])
def test_what_calls_itself_grpc_must_not_be_slow_where_there_is_none(weir, upstream, size):
    """An endpoint of HTTP/1 sees nothing of a body that has not come."""
    behind = upstream()
    limits = {"body_timeout": SHORT, "body_min_rate": "1MiB/s"}
    running = weir(settings(behind, http2=False, limits=limits))
    with Http2Client(running.edge) as client:
        stream = client.request("POST", "/slow", GRPC, end=False)
        if size:
            client.data(stream, bytes(size), end=False)
        answer = client.read(stream)
        assert answer.reason == "client_too_slow"
        assert client.get("/good").status == 200
    assert [request.target for request in behind.requests] == ["/good"]


@pytest.mark.parametrize("is_sent", [True, False], ids=["message", "head"])
def test_a_call_that_waits_in_a_queue_is_not_slow(weir, http2_upstream, is_sent):
    """It may wait for longer than its body has time to come, and be silent meanwhile."""
    go = threading.Event()

    def answer(call):
        if call.path == "/held":
            go.wait(patience(40))
            return call.respond()
        call.wait_end()
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.data(bytes(call.body), end=False)
        call.head([("grpc-status", "0")], end=True)

    behind = http2_upstream(answer, early=True)
    running = weir(
        settings(
            behind,
            circuit_breakers={"max_requests": 1},
            queue={"max_wait": "50s"},
            route={"timeout": "50s"},
            limits={"body_timeout": SHORT, "body_min_rate": "1KiB/s"},
        )
    )
    with Http2Client(running.edge, seconds=40) as client, Http2Client(running.edge) as other:
        held = client.request(path="/held")
        behind.wait_requests(1)
        stream = client.request("POST", "/call", GRPC, end=False)
        if is_sent:
            client.data(stream, MESSAGE, end=False)
        until(lambda: running.total("weir_queue_length") == 1, "it waits")
        # Several windows, in which an upload is found out, pass.
        for number in range(4):
            slow = other.request("POST", f"/slow/{number}", end=False)
            assert outcome(other.read(slow)) == (408, "client_too_slow")
        while not client.is_quiet(0):
            client.read_frame()
        assert not stream.is_over and stream.status is None, stream.outcome
        go.set()
        assert client.read(held).status == 200
        behind.wait_requests(2)
        client.data(stream, MESSAGE)
        answer = client.read(stream)
        assert answer.body == MESSAGE * (2 if is_sent else 1)
        assert answer.trailers == [("grpc-status", "0")]
    (line,) = running.wait_log(1, lambda line: line["path"] == "/call")
    assert (line["reason"], line["grpc_status"]) == (None, "OK")
