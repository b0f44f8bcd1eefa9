"""Endpoints of HTTP/2 that take no calls or stop reading, and what that costs others.

Nobody is left without an answer, nobody gets another's, and nothing stays behind.
"""

import contextlib
import socket
import threading
import time

import pytest

from harness import Client, cluster, configuration, forward, patience, until
from harness.calls import named, outcome
from harness.http2 import (
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    SETTINGS,
    Http2Client,
    frame,
    settings_of,
    word,
)
from harness.nobody import never_connecting, refusing

POLICY = {
    "on": ["connect_failure", "refused_stream"],
    "attempts": 2,
    "backoff": {"base": "1ms", "max": "2ms"},
    "budget": {"percent": 100, "min_per_second": 1000},
}


def settings(*behind, route=None, routes=(), policy=None, **options):
    clusters = [cluster("main", *behind, **({"http2": True} | options))]
    route = ({} if policy is None else {"retry": "again"}) | (route or {})
    made = configuration(clusters, [*routes, forward(**route)], runtime={"workers": 1})
    return made if policy is None else made | {"retry_policies": {"again": POLICY | policy}}


def open_connections(running):
    return running.total("upstream_connections", state="active")


def hold(behind):
    """Connections are accepted, and not a word is said before the event that this yields."""
    go = threading.Event()

    def run(connection):
        go.wait(patience(40))
        type(behind).run(behind, connection)

    behind.run = run
    return go


def ask_many(client, paths):
    """Many calls at once; what each of them came to, its body where that is its own."""
    opened = [(path, client.request(path=path)) for path in paths]
    answers = [(path, client.read(stream)) for path, stream in opened]
    assert all(answer.status for _, answer in answers), [each.outcome for _, each in answers]
    for path, answer in answers:
        assert answer.status != 200 or answer.body == path.encode(), (path, answer.outcome)
    return [outcome(answer) for _, answer in answers]


def first_words(words, has_read=False):
    """What handles a connection that begins, and soon ends, with these."""

    def handle(connection):
        if has_read:
            connection.fill()
        connection.send(words)
        if words:
            connection.wait_closed()

    return handle


HTTP_1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
#: Endpoints with which there is no HTTP/2.
STRANGERS = {
    "HTTP/1 at once": first_words(HTTP_1),
    "HTTP/1 when asked": first_words(HTTP_1, True),
    "closes at once": first_words(b""),
    "closes when asked": first_words(b"", True),
    "GOAWAY first": first_words(frame(GOAWAY, payload=word(0) + word(0))),
    "PING first": first_words(frame(PING, payload=b"as first")),
}
HOSTILE = ["refuses", "never connects", "goes away", "takes one", "takes none", *STRANGERS]


@pytest.fixture
def hostile(upstream, http2_upstream):
    """Endpoints that take no calls, or few of those that wait for them."""

    def answer(call):
        if call.connection.number % 2:
            return call.connection.goaway(0)
        named(call)

    with contextlib.ExitStack() as stack:

        def make(case):
            if case == "refuses":
                return stack.enter_context(refusing())
            if case == "never connects":
                return stack.enter_context(never_connecting())
            if case in STRANGERS:
                return upstream(handle=STRANGERS[case])
            most = {"takes one": 1, "takes none": 0}.get(case, 100)
            return http2_upstream(
                answer if case == "goes away" else named, settings={MAX_CONCURRENT_STREAMS: most}
            )

        yield make


# Hedges


@pytest.mark.parametrize("has_policy", [True, False], ids=["retried", "once"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hedges_to_an_endpoint_that_takes_none(weir, http2_upstream, hostile, case, has_policy):
    """Half of the calls go to it first, and wait for the connections that hedges wait for."""

    def slow(call):
        time.sleep(0.01)
        named(call)

    running = weir(
        settings(
            http2_upstream(slow),
            hostile(case),
            route={"hedge": {"after": "2ms", "percent": 10}},
            # Its budget is that of hedges.
            policy={} if has_policy else {"on": [429]},
            connect_timeout="250ms",
            keepalive={"idle_timeout": "300ms"},
        )
    )
    seen = set()
    with Http2Client(running.edge, seconds=40) as client:
        for number in range(8):
            seen |= set(ask_many(client, [f"/{number}/{place}" for place in range(50)]))
    running.wait_total(5, "upstream_hedges_total")
    if has_policy:
        assert seen == {(200, None)}
    failures = {(502, "upstream_connect"), (504, "upstream_connect"), (502, "upstream_reset")}
    assert (200, None) in seen <= {(200, None), *failures}
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")
    until(lambda: open_connections(running) == 0, "idle connections are closed")


def test_hedges_and_others_wait_for_a_connection_that_takes_few_of_them(weir, http2_upstream):
    """It is in the making while they come, and those that it does not take go on elsewhere."""
    go = threading.Event()

    def answer(call):
        if call.path.startswith("/held"):
            go.wait(patience(40))
        named(call)

    good, late = http2_upstream(answer), http2_upstream(named, settings={MAX_CONCURRENT_STREAMS: 1})
    made = settings(
        good,
        late,
        route={"hedge": {"after": "2ms", "percent": 10}},
        policy={},
        connect_timeout="30s",
    )
    running = weir(made)
    with Http2Client(running.edge, seconds=40) as client:
        for number in range(4):
            assert set(ask_many(client, [f"/{number}/{n}" for n in range(50)])) == {(200, None)}
        for connection in late.connections:
            connection.cut()
            connection.wait_closed()
        gate = hold(late)
        before = running.total("upstream_hedges_total")
        opened = [(path, client.request(path=path)) for path in (f"/held/{n}" for n in range(80))]
        until(lambda: running.total("upstream_hedges_total") > before + 4, "some are hedged")
        gate.set()
        go.set()
        for path, stream in opened:
            answer = client.read(stream)
            assert (answer.status, answer.body) == (200, path.encode()), answer.outcome
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")
    assert running.get("/after").body == b"/after"


# Endpoints that are none


@pytest.mark.parametrize("case", STRANGERS)
def test_an_endpoint_that_does_not_speak_http_2_cannot_be_connected_to(weir, upstream, case):
    running = weir(settings(upstream(handle=STRANGERS[case])))
    for count in range(1, 4):
        answer = running.get(method="POST", body=b"x" * 1000)
        assert answer.status in (502, 503) and answer.reason == "upstream_connect"
        assert running.wait_total(count, "upstream_failures_total", reason="connect") == count
    assert {line["reason"] for line in running.wait_log(3)} == {"upstream_connect"}
    until(lambda: open_connections(running) == 0, "none is open")


@pytest.mark.parametrize("case", STRANGERS)
def test_what_cannot_be_sent_there_is_tried_elsewhere(weir, upstream, http2_upstream, case):
    bad, good = upstream(handle=STRANGERS[case]), http2_upstream(named)
    running = weir(settings(bad, good, policy={"on": ["connect_failure"], "methods": ["GET"]}))
    for number in range(10):
        answer = running.get(f"/{number}", method="POST", body=b"x" * 1000)
        assert (answer.status, answer.body) == (200, b"/%d" % number)
    assert [len(call.body) for call in good.requests] == [1000] * 10
    running.wait_total(3, "upstream_failures_total", reason="connect")
    assert running.total("upstream_failures_total", reason="reset") == 0


# Endpoints that allow no calls


def living(behind):
    return sum(not connection.is_over for connection in behind.connections)


def test_connections_to_an_endpoint_that_allows_no_calls_do_not_pile_up(weir, http2_upstream):
    behind = http2_upstream(settings={MAX_CONCURRENT_STREAMS: 0})
    running = weir(settings(behind))
    for _ in range(100):
        answer = running.get()
        assert answer.status in (502, 503) and answer.reason == "upstream_connect"
        assert open_connections(running) <= 3
    until(lambda: living(behind) <= 3 and open_connections(running) == 0, "they are closed")
    # Each is counted once, also where it says the same again.
    failures = running.wait_total(100, "upstream_failures_total", reason="connect")
    assert failures == len(behind.connections) and not behind.requests
    with Http2Client(running.edge) as client:
        seen = set(ask_many(client, ["/"] * 80))
    assert {reason for _, reason in seen} == {"upstream_connect"}
    behind.settings = {}
    assert running.get().status == 200


def limit_calls(connection, most):
    """Says it on a connection, and waits until that has come."""
    connection.mine[MAX_CONCURRENT_STREAMS] = most
    acks = connection.acks
    connection.send(frame(SETTINGS, payload=settings_of({MAX_CONCURRENT_STREAMS: most})))
    connection.owner.wait(lambda: connection.acks > acks, "it is acknowledged")


@pytest.mark.parametrize("is_everywhere", [True, False])
def test_an_endpoint_may_allow_no_calls_for_a_while(weir, http2_upstream, is_everywhere):
    """On the connection that there is, or also on those that are made meanwhile."""
    behind = http2_upstream(named)
    running = weir(settings(behind))
    for _ in range(3):
        assert running.get("/before").body == b"/before"
        first = [each for each in behind.connections if not each.is_over]
        for connection in first:
            limit_calls(connection, 0)
        if is_everywhere:
            behind.settings = {MAX_CONCURRENT_STREAMS: 0}
        for _ in range(20):
            answer = running.get("/meanwhile")
            if is_everywhere:
                assert answer.status in (502, 503) and answer.reason == "upstream_connect"
            else:
                assert answer.body == b"/meanwhile"
            assert living(behind) <= 5
        behind.settings = {}
        for connection in first:
            if not connection.is_over:
                limit_calls(connection, 100)
        for number in range(20):
            assert running.get(f"/{number}").body == b"/%d" % number
    assert len(behind.connections) < 80
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")


def test_an_endpoint_that_lowers_its_limit_while_calls_are_under_way(weir, http2_upstream):
    go = threading.Event()

    def answer(call):
        if call.path.startswith("/held"):
            go.wait(patience(30))
        named(call)

    behind = http2_upstream(answer)
    running = weir(settings(behind))
    with Http2Client(running.edge) as client:
        held = [(path, client.request(path=path)) for path in (f"/held/{n}" for n in range(20))]
        behind.wait_requests(20)
        limit_calls(behind.connections[0], 0)
        assert set(ask_many(client, [f"/{n}" for n in range(30)])) == {(200, None)}
        go.set()
        for path, stream in held:
            assert client.read(stream).body == path.encode()
        limit_calls(behind.connections[0], 100)
        assert set(ask_many(client, [f"/{n}" for n in range(60)])) == {(200, None)}
    assert len(behind.connections) <= 3


# Endpoints that do not read


@pytest.mark.parametrize("has_bodies", [True, False], ids=["bodies", "heads"])
@pytest.mark.parametrize("limit", ["route", "try"])
def test_a_connection_that_its_endpoint_does_not_read_is_given_up(
    weir, http2_upstream, limit, has_bodies
):
    """While it may still be sent to as far as windows go; others are served meanwhile."""
    stalled = threading.Event()
    wide = 1 << 28

    def answer(call):
        connection = call.connection
        if connection.number == 0:
            if not stalled.is_set():
                # Nothing is heard of it once this is acknowledged: calls that begin then show it.
                connection.open_window(None, wide)
                connection.send(frame(PING, payload=b"the last"))
                call.wait(lambda: connection.pongs, "weir has read so far")
                # What is being read still comes, and nothing after it.
                connection.fill = lambda: stalled.wait() and over.wait(patience(50)) and False
                stalled.set()
            return
        call.wait_end()
        named(call)

    over = threading.Event()
    behind = http2_upstream(answer, settings={INITIAL_WINDOW_SIZE: wide}, early=True)
    behind.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    policy = None
    if limit == "try":
        policy = {"on": ["per_try_timeout"], "per_try_timeout": "400ms", "attempts": 1}
    timeout = "400ms" if limit == "route" else "30s"
    # Silence for less than that would not be held against it.
    options = {"route": {"timeout": timeout}, "policy": policy, "connect_timeout": "300ms"}
    running = weir(settings(behind, **options))
    try:
        with Http2Client(running.edge, seconds=40) as client:
            first = client.request(path="/first")
            behind.wait(lambda: stalled.is_set(), "it does not read any more")
            streams = [client.request("POST", f"/{n}", end=not has_bodies) for n in range(8)]
            sent = 0
            while has_bodies and not all(stream.status or stream.is_over for stream in streams):
                for stream in streams:
                    if not stream.status and not stream.is_over:
                        sent += client.fit(stream, bytes(16_000))
                while not client.is_quiet(0.01):
                    assert client.read_frame()
                assert sent < 64 << 20, "something reads all of it"
            for stream in [first, *streams]:
                assert client.read(stream).status in (200, 504), stream.outcome
            for number in range(10):
                answer = client.get(f"/after/{number}")
                assert answer.body == b"/after/%d" % number, answer.outcome
        until(lambda: open_connections(running) <= 1, "the first connection is given up")
        until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")
        assert running.get("/last").body == b"/last"
        assert len(behind.connections) <= 4
    finally:
        over.set()


@pytest.mark.parametrize("limit", ["route", "try"])
def test_calls_that_wait_for_a_short_time_only_find_silence_out_as_well(
    weir, http2_upstream, limit
):
    """None of them waits for as long as a connection may take to be made; all together do."""

    def answer(call):
        if call.connection.number:
            named(call)

    behind = http2_upstream(answer)
    policy = {"on": [503], "per_try_timeout": "200ms"} if limit == "try" else None
    timeout = "200ms" if limit == "route" else "30s"
    running = weir(
        settings(behind, route={"timeout": timeout}, policy=policy, connect_timeout="1s")
    )
    assert outcome(running.get()) == (504, "upstream_timeout")
    until(lambda: running.get("/after").body == b"/after", "another connection is made", 10)
    until(lambda: open_connections(running) == 1, "the first one is given up")


# Reloads


def told(text):
    """A route that says which configuration is in use."""
    answer = {"status": 200, "body": text}
    return {"name": "told", "match": {"path": "/told"}, "direct_response": answer}


def changed(running, made):
    """Reloads, and returns once the new configuration is in use."""
    running.reload(made)
    until(lambda: running.get("/told").body == b"new", "the worker has it")


@pytest.mark.parametrize("kind", [Client, Http2Client])
@pytest.mark.parametrize("case", ["http2", "http2 and back", "no tls", "other tls", "elsewhere"])
def test_a_reload_while_a_connection_is_in_the_making_fails_none(
    weir, http2_upstream, authority, case, kind
):
    """Those who wait for it are served by it; those who come later are not."""
    has_tls = "tls" in case
    tls = {"tls": {"ca": str(authority.certificate), "server_name": "a.test"}} if has_tls else {}
    context = authority.server(authority.issue("DNS:a.test", "DNS:b.test")) if has_tls else None
    behind, other = http2_upstream(named, tls=context), http2_upstream(named)
    go = hold(behind)
    options = tls | {"connect_timeout": "30s"}
    running = weir(settings(behind, routes=[told("old")], **options))
    with contextlib.ExitStack() as stack:
        stack.callback(go.set)
        count = 12
        if kind is Client:
            clients = [stack.enter_context(Client(running.edge, 40)) for _ in range(count)]
        else:
            clients = [stack.enter_context(Http2Client(running.edge, seconds=40))] * count
        asked = [
            (client, client.request("POST", f"/{n}", body=b"x" * 100))
            for n, client in enumerate(clients)
        ]
        until(lambda: running.total("upstream_requests_in_flight") == count, "all wait")
        until(lambda: behind.connections, "the endpoint has seen the connection")
        assert len(behind.connections) == 1
        new = {
            "http2": {"http2": False},
            "http2 and back": {"http2": False},
            "no tls": {"tls": None},
            "other tls": {"tls": tls.get("tls", {}) | {"server_name": "b.test"}},
            "elsewhere": {},
        }[case]
        made = {key: value for key, value in (options | new).items() if value is not None}
        where = other if case == "elsewhere" else behind
        changed(running, settings(where, routes=[told("new")], **made))
        if case == "http2 and back":
            running.reload(settings(behind, routes=[told("old")], **options))
        go.set()
        for number, (client, stream) in enumerate(asked):
            answer = client.read(stream) if stream else client.read()
            assert (answer.status, answer.body) == (200, b"/%d" % number)
        assert len(behind.connections) == 1
        behind.connections[0].wait_closed()
        if case not in ("http2", "no tls"):
            assert running.get("/later").body == b"/later"
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is in flight")
