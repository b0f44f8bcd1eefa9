"""gRPC through weir, by its own client and server: bytes for messages, no generated code."""

import threading

import pytest

from harness import Client, cluster, configuration, forward, listener, patience, until
from harness.grpc_server import serve
from harness.http2 import Http2Client

grpc = pytest.importorskip("grpc")

LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
NAME = "e2e.Echo"


class Echo:
    """What the server does, and what it has noticed."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self.metadata, self.left = [], []

    def unary(self, request, context):
        self.metadata.append(context.invocation_metadata())
        self.left.append(context.time_remaining())
        context.send_initial_metadata((("x-initial", "1"), ("x-bytes-bin", b"\0\xff")))
        context.set_trailing_metadata((("x-trailing", "2"), ("x-more-bin", b"\1\xfe")))
        return request

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode[request.decode()], "no: 100% – nein")

    def wait(self, request, context):
        context.add_callback(self.cancelled.set)
        self.begun.set()
        self.cancelled.wait(patience(30))
        return b""

    def count(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def many(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number * 100

    def fail_late(self, request, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "late")

    def forever(self, request, context):
        context.add_callback(self.cancelled.set)
        number = 0
        while not self.cancelled.is_set():
            yield b"%d" % number
            number += 1
            self.cancelled.wait(0.01)

    def chat(self, requests, context):
        for request in requests:
            yield b"re: " + request

    def server(self, credentials=None):
        """A server on a port of its own."""
        unary = grpc.unary_unary_rpc_method_handler
        handlers = {
            "Unary": unary(self.unary),
            "Fail": unary(self.fail),
            "Wait": unary(self.wait),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Many": grpc.unary_stream_rpc_method_handler(self.many),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Forever": grpc.unary_stream_rpc_method_handler(self.forever),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        return serve(NAME, handlers, threads=64, options=LARGE, credentials=credentials)


@pytest.fixture
def echo():
    made = Echo()
    server, made.address = made.server()
    yield made
    made.cancelled.set()
    server.stop(0).wait()


def settings(echo, secure=None, **options):
    # Streams may pause, and nothing here has to be quick.
    routes = [forward(**({"timeout": "60s", "idle_timeout": "60s"} | options))]
    made = [listener(tls=secure and {"certificates": [secure.files]})]
    return configuration([cluster("main", echo.address, http2=True)], routes, made)


@pytest.fixture(scope="module")
def shop(authority):
    return authority.issue("DNS:shop.test")


@pytest.fixture(params=["plain", "tls"])
def site(request, weir, echo, authority, shop):
    """A channel to a weir before the server, from without TLS or with it."""
    made = []

    def start(**options):
        is_secure = request.param == "tls"
        start.settings = settings(echo, shop if is_secure else None, **options)
        running = weir(start.settings)
        if is_secure:
            known = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
            named = [("grpc.ssl_target_name_override", "shop.test")]
            channel = grpc.secure_channel(running.edge, known, options=LARGE + named)
        else:
            channel = grpc.insecure_channel(running.edge, options=LARGE)
        made.append(channel)
        return running, channel

    yield start
    for channel in made:
        channel.close()


def method(channel, name, kind="unary_unary"):
    made = getattr(channel, kind)(f"/{NAME}/{name}")
    return lambda request, timeout=30: made(request, timeout=patience(timeout))


def failure(call):
    """The error that the call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_unary_calls(site):
    running, channel = site()
    call = method(channel, "Unary")
    for request in (b"", b"hello", bytes(range(256)) * 100):
        assert call(request) == request
    for line in running.wait_log(3):
        assert (line["path"], line["status"], line["protocol"]) == (f"/{NAME}/Unary", 200, "HTTP/2")
        assert line["reason"] is None


def test_large_messages(site):
    _, channel = site()
    message = bytes(range(256)) * (3 << 12)
    call = method(channel, "Unary")
    for _ in range(3):
        assert call(message) == message


def test_streams_of_the_client(site):
    _, channel = site()
    count = method(channel, "Count", "stream_unary")
    assert count(iter([b"x" * 1000] * 500)) == b"500000"
    assert count(iter([])) == b"0"


def test_streams_of_the_server(site):
    _, channel = site()
    many = method(channel, "Many", "unary_stream")
    assert list(many(b"1000")) == [b"%d" % number * 100 for number in range(1000)]
    assert list(many(b"0")) == []


def test_streams_both_ways(site):
    _, channel = site()
    chat = method(channel, "Chat", "stream_stream")
    requests = [b"%d" % number * 200 for number in range(500)]
    assert list(chat(iter(requests))) == [b"re: " + request for request in requests]


@pytest.mark.parametrize("route", [{}, {"request_buffer": "0B"}])
def test_each_message_is_answered_before_the_next_is_sent(site, route):
    """Nothing waits in weir until there is more of it."""
    _, channel = site(**route)
    go = threading.Semaphore(0)

    def requests():
        for number in range(200):
            yield b"%d" % number
            assert go.acquire(timeout=patience(15))

    answers = method(channel, "Chat", "stream_stream")(requests())
    for number in range(200):
        assert next(answers) == b"re: %d" % number
        go.release()
    assert list(answers) == []


def test_metadata_goes_both_ways(site, echo):
    _, channel = site()
    mine = [("x-mine", "a"), ("x-mine", "b"), ("x-raw-bin", b"\0\1\xff")]
    answer, call = channel.unary_unary(f"/{NAME}/Unary").with_call(b"x", metadata=mine)
    assert answer == b"x" and call.code() == grpc.StatusCode.OK
    (seen,) = echo.metadata
    assert [pair for pair in seen if pair[0] in ("x-mine", "x-raw-bin")] == mine
    assert {"via", "x-forwarded-for", "x-request-id"} <= {key for key, _ in seen}
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (initial["x-initial"], initial["x-bytes-bin"]) == ("1", b"\0\xff")
    assert (trailing["x-trailing"], trailing["x-more-bin"]) == ("2", b"\1\xfe")


CODES = ["NOT_FOUND", "INVALID_ARGUMENT", "UNAVAILABLE", "INTERNAL", "UNKNOWN", "ABORTED"]


@pytest.mark.parametrize("code", CODES)
def test_errors_reach_the_client(site, code):
    running, channel = site()
    error = failure(lambda: method(channel, "Fail")(code.encode()))
    assert error.code() == grpc.StatusCode[code]
    assert error.details() == "no: 100% – nein"
    assert dict(error.trailing_metadata())["x-why"] == "because"
    assert running.wait_log()[0]["reason"] is None


def test_errors_after_messages_reach_the_client(site):
    _, channel = site()
    answers = method(channel, "FailLate", "unary_stream")(b"")
    assert [next(answers), next(answers)] == [b"one", b"two"]
    error = failure(lambda: next(answers))
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "late")


def test_a_method_that_is_not_there(site):
    _, channel = site()
    error = failure(lambda: method(channel, "Nothing")(b""))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_cancelled_call_is_cancelled_at_the_server(site, echo):
    _, channel = site()
    call = channel.unary_unary(f"/{NAME}/Wait").future(b"")
    assert echo.begun.wait(patience(15))
    call.cancel()
    assert echo.cancelled.wait(patience(15))
    assert method(channel, "Unary")(b"x") == b"x"


def test_a_cancelled_stream_is_cancelled_at_the_server(site, echo):
    _, channel = site()
    answers = method(channel, "Forever", "unary_stream")(b"")
    assert [next(answers) for _ in range(3)] == [b"0", b"1", b"2"]
    answers.cancel()
    assert echo.cancelled.wait(patience(15))
    assert method(channel, "Unary")(b"x") == b"x"


def test_deadlines_end_calls(site, echo):
    running, channel = site()
    error = failure(lambda: channel.unary_unary(f"/{NAME}/Wait")(b"", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.cancelled.wait(patience(15))
    assert method(channel, "Unary")(b"x") == b"x"
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")


def test_the_server_is_told_how_long_the_client_waits(site, echo):
    _, channel = site()
    assert method(channel, "Unary")(b"x", timeout=20) == b"x"
    assert channel.unary_unary(f"/{NAME}/Unary")(b"x") == b"x"
    with_limit, without = echo.left
    assert 0 < with_limit <= patience(20) and (without is None or without > 1e6)


def test_fifty_calls_at_once_on_one_channel(site):
    running, channel = site()
    call = channel.unary_unary(f"/{NAME}/Unary")
    for _ in range(3):
        requests = [b"%d" % number * (number * 50 + 1) for number in range(50)]
        calls = [call.future(request, timeout=patience(30)) for request in requests]
        assert [each.result() for each in calls] == requests
    assert running.wait_total(1, "downstream_http2_connections_total") == 1
    assert running.wait_total(150, "http_requests_total", code_class="2xx") == 150


@pytest.mark.slow
def test_streams_may_pause(site):
    """Longer than the window over which the rate of a body is measured, 10s."""
    _, channel = site(request_buffer="0B")
    go = threading.Event()

    def requests():
        yield b"one"
        go.wait(12)
        yield b"two"

    answers = method(channel, "Chat", "stream_stream")(requests())
    assert list(answers) == [b"re: one", b"re: two"]


def test_streams_outlive_reloads(site, echo):
    running, channel = site(request_buffer="0B")
    ready = threading.Semaphore(0)

    def requests():
        for number in range(40):
            yield b"%d" % number
            assert ready.acquire(timeout=patience(15))

    answers = method(channel, "Chat", "stream_stream")(requests())
    for number in range(40):
        assert next(answers) == b"re: %d" % number
        if number % 10 == 5:
            made = dict(site.settings)
            made["clusters"] = [made["clusters"][0] | {"connect_timeout": f"{number}s"}]
            # A listener on a port of the kernel's choice is kept as it is.
            running.reload(made)
        ready.release()
    assert list(answers) == []


# What weir says itself


def test_refusals_are_in_words_of_grpc(weir, echo):
    echo_settings = settings(echo, match={"path": "/nowhere"})
    running = weir(echo_settings)
    with grpc.insecure_channel(running.edge) as channel:
        error = failure(lambda: method(channel, "Unary")(b""))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_server_that_is_gone_is_unavailable(weir, upstream):
    behind = upstream()
    running = weir(configuration([cluster("main", behind.address, http2=True)]))
    behind.stop()
    with grpc.insecure_channel(running.edge) as channel:
        error = failure(lambda: method(channel, "Unary")(b""))
        assert error.code() == grpc.StatusCode.UNAVAILABLE


def test_a_route_that_takes_too_long_is_a_deadline(weir, echo):
    running = weir(settings(echo, timeout="300ms"))
    with grpc.insecure_channel(running.edge) as channel:
        error = failure(lambda: method(channel, "Wait")(b""))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.cancelled.wait(patience(15))


def test_servers_may_speak_tls(weir, authority):
    proven = authority.issue("DNS:origin.test", "IP:127.0.0.1")
    pair = proven.key.read_bytes(), proven.chain.read_bytes()
    echo = Echo()
    server, echo.address = echo.server(grpc.ssl_server_credentials([pair]))
    try:
        made = settings(echo)
        made["clusters"][0]["tls"] = {"ca": str(authority.certificate)}
        running = weir(made)
        with grpc.insecure_channel(running.edge, options=LARGE) as channel:
            assert method(channel, "Unary")(b"x" * (3 << 20)) == b"x" * (3 << 20)
            chat = method(channel, "Chat", "stream_stream")
            assert list(chat(iter([b"a", b"b"]))) == [b"re: a", b"re: b"]
    finally:
        server.stop(0).wait()


def test_a_server_that_ends_hands_its_calls_over(weir, echo):
    """What is under way ends well; what comes later goes to the next one."""
    running = weir(settings(echo))
    with grpc.insecure_channel(running.edge) as channel:
        for _ in range(3):
            assert method(channel, "Unary")(b"x") == b"x"
        other = Echo()
        server, other.address = other.server()
        try:
            running.reload(settings(other))
            until(lambda: method(channel, "Unary")(b"y") == b"y" and other.metadata, "it moves")
        finally:
            server.stop(0).wait()


#: Milliseconds in which a connection is made, however slow the build.
SOON = int(patience(300))


@pytest.mark.parametrize("field", [("grpc-timeout", f"{SOON}m"), ("x-request-deadline", f"{SOON}")])
@pytest.mark.parametrize("kind", ["call", "post", "old"])
@pytest.mark.parametrize("buffer", ["0B", "64KiB"])
def test_a_deadline_holds_while_the_request_goes_on(weir, http2_upstream, kind, field, buffer):
    """Its end is not waited for, and neither is it looked for again and again."""
    if kind != "call" and field[0] == "grpc-timeout":
        pytest.skip("means nothing there")
    gate, is_sent = threading.Event(), kind == "call" or buffer == "0B"
    behind = http2_upstream(lambda call: gate.wait(patience(30)))
    running = weir(
        configuration(
            [cluster("main", behind.address, http2=True)], [forward(request_buffer=buffer)]
        )
    )
    spent = running.total("process_cpu_seconds_total")
    fields = [field] + ([("content-type", "application/grpc")] if kind == "call" else [])
    if kind == "old":
        with Client(running.edge) as client:
            head = "POST / HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: 9\r\n"
            client.send(f"{head}{field[0]}: {field[1]}\r\n\r\npart".encode())
            if is_sent:
                behind.wait_requests(1)
            answer = client.read(keep=False)
    else:
        with Http2Client(running.edge) as client:
            stream = client.request("POST", "/", fields, end=False)
            client.data(stream, b"part", end=False)
            if is_sent:
                behind.wait_requests(1)
            answer = client.read(stream)
    gate.set()
    assert answer.one("grpc-status") == "4" if kind == "call" else answer.status == 504
    (line,) = running.wait_log(1)
    assert line["reason"] == "deadline"
    assert len(behind.requests) == is_sent, "what is gathered has not been sent"
    assert running.total("process_cpu_seconds_total") - spent < patience(0.25)
