"""Health checks of endpoints that speak HTTP/2: what is asked, and what makes one well or sick."""

import threading

import pytest

from harness import Client, cluster, configuration, ok, patience, until
from harness.http2 import (
    DATA,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    REFUSED_STREAM,
    Http2Client,
    frame,
)
from harness.nobody import refusing

#: No probe fails for being slow, where it is not meant to.
CHECK = {"path": "/healthz", "interval": "100ms", "timeout": "20s", "unhealthy": 2, "healthy": 2}
HASTY = CHECK | {"timeout": "90ms"}


def settings(*behind, check=CHECK, **options):
    made = {"http2": True, "health_check": check} | options
    return configuration([cluster("main", *behind, **made)], runtime={"workers": 1})


def well(call):
    call.respond(204, None)


def sick(call):
    call.respond(503)


class Mood:
    """How probes are answered, and apart from that how everything else is."""

    def __init__(self, probed=well):
        self.probed, self.probes, self.calls = probed, [], 0

    def __call__(self, call):
        if not call.is_probe:
            self.calls += 1
            return call.respond()
        self.probes.append(call)
        self.probed(call)


@pytest.fixture
def endpoint(http2_upstream):
    """An endpoint of HTTP/2 with a mood."""

    def start(probed=well, **options):
        mood = Mood(probed)
        behind = http2_upstream(mood, **options)
        behind.mood = mood
        return behind

    return start


def endpoints(running):
    return {entry["address"]: entry for entry in running.status()["clusters"][0]["endpoints"]}


def state(running, behind):
    return endpoints(running)[getattr(behind, "address", behind)]["state"]


def wait_sick(running, behind):
    until(lambda: state(running, behind) == "unhealthy", "it is found unhealthy")


def wait_well(running, behind):
    until(lambda: state(running, behind) == "available", "it is found healthy")


def ask(running, count):
    return [running.get().status for _ in range(count)]


# What is asked


@pytest.fixture(params=["clear", "tls"])
def way(request, authority):
    """How an endpoint is spoken to: options of one, and of its cluster."""
    if request.param == "clear":
        return {}, {}, "http"
    context = authority.server(authority.issue("DNS:origin.test", "IP:127.0.0.1"))
    return {"tls": context}, {"tls": {"ca": str(authority.certificate)}}, "https"


def test_what_a_probe_asks(weir, endpoint, way):
    behind_options, options, scheme = way
    agreed = []

    def answer(call):
        if scheme == "https":
            agreed.append(call.connection.sock.selected_alpn_protocol())
        well(call)

    behind = endpoint(answer, **behind_options)
    running = weir(settings(behind, check=CHECK | {"path": "/a/b.c"}, **options))
    for call in behind.wait_requests(3)[:3]:
        assert (call.method, call.path, call.scheme) == ("GET", "/a/b.c", scheme)
        assert call.authority == behind.address
        # It is weir's own request: nothing about a client is in it.
        assert call.fields[4:] == [("user-agent", "weir-health-check")]
        assert call.frames == ["Headers"] and call.has_ended
    assert set(agreed) == ({"h2"} if scheme == "https" else set())
    assert state(running, behind) == "available"


def test_each_probe_has_a_connection_of_its_own_that_is_closed_after_it(weir, endpoint, way):
    behind_options, options, _ = way
    behind = endpoint(**behind_options)
    running = weir(settings(behind, **options))
    before = running.open_files
    behind.wait_requests(6)
    for connection in behind.connections[:5]:
        connection.wait_closed()
        assert len(connection.calls) == 1
    # Two may be under way: one that ends and one that begins.
    until(lambda: running.open_files <= before + 2, "their descriptors are free")
    assert running.get().status == 200
    assert running.get().status == 200
    shared = [one for one in behind.connections if any(not c.is_probe for c in one.calls.values())]
    assert len(shared) == 1 and len(shared[0].calls) == 2, "requests have another connection"


def test_probes_are_counted_nowhere(weir, endpoint):
    behind = endpoint()
    running = weir(settings(behind))
    behind.wait_requests(5)
    for name in ("http_requests_total", "upstream_attempts_total", "upstream_requests_total"):
        assert running.total(name) == 0, name
    assert running.total("upstream_connections") == 0
    assert running.get().status == 200
    assert len(running.wait_log()) == 1
    assert running.wait_total(1, "upstream_attempts_total") == 1


# What makes well and sick


def test_a_check_takes_out_and_puts_back(weir, endpoint, way):
    behind_options, options, _ = way
    bad, good = endpoint(**behind_options), endpoint(**behind_options)
    running = weir(settings(bad, good, **options))
    bad.mood.probed = sick
    wait_sick(running, bad)
    assert endpoints(running)[bad.address]["reason"] == "health_check"
    assert running.wait_total(1, "weir_endpoint_state", endpoint=bad.address, state="unhealthy") == 1
    before = bad.mood.calls
    assert set(ask(running, 10)) == {200} and bad.mood.calls == before
    assert state(running, good) == "available"
    bad.mood.probed = well
    wait_well(running, bad)
    until(lambda: ask(running, 4) and bad.mood.calls > before, "it is asked again")
    assert running.total("weir_endpoint_state", endpoint=bad.address, state="unhealthy") == 0


def test_what_is_under_way_is_not_cut_off(weir, http2_upstream):
    """Unhealthy means that no more is sent there."""
    go = threading.Event()

    def held(call):
        assert go.wait(patience(30))
        call.respond(body=b"late")

    answers = Mood(sick)
    behind = http2_upstream(lambda call: answers(call) if call.is_probe else held(call))
    other = http2_upstream()
    running = weir(settings(behind, other, check=CHECK | {"unhealthy": 100}))
    with Http2Client(running.edge) as client:
        streams = [client.request() for _ in range(4)]
        behind.wait(lambda: any(not call.is_probe for call in behind.requests), "one is held")
        running.reload(settings(behind, other))
        wait_sick(running, behind)
        go.set()
        assert {client.read(stream).status for stream in streams} == {200}


def with_status(status, fields=(), body=b"ok\n"):
    return lambda call: call.respond(status, body, fields)


def interim(call):
    call.interim(103, [("link", "</a.css>; rel=preload")])
    call.respond(200)


def unended(call):
    """A head is enough: the body of an answer is nobody's concern."""
    call.head([(":status", "200"), ("content-length", "1000000")])


def large(call):
    call.head([(":status", "200"), *((f"x-{place}", "y" * 900) for place in range(30))], end=True)


def in_pieces(call):
    call.head([(":status", "200"), ("x-a", "b" * 100)], end=True, cut=10)


WELL = {
    "200": (None, with_status(200)),
    "299": (None, with_status(299)),
    "204 without a body": (None, well),
    "302 where it is expected": ("200-399", with_status(302, [("location", "/")])),
    "404 where it is expected": ("404", with_status(404)),
    "trailers": (None, lambda call: call.respond(trailers=[("x-sum", "1")])),
    "hints first": (None, interim),
    "a body that does not end": (None, unended),
    "a large head": (None, large),
    "a head in pieces": (None, in_pieces),
}


def expecting(statuses):
    return CHECK | ({"statuses": statuses} if statuses else {})


@pytest.mark.parametrize("case", WELL)
def test_answers_that_show_health(weir, endpoint, case):
    statuses, answer = WELL[case]
    behind = endpoint(lambda call: call.respond(500))
    running = weir(settings(behind, check=expecting(statuses)))
    wait_sick(running, behind)
    behind.mood.probed = answer
    wait_well(running, behind)


def broken_head(call):
    call.head([("x-a", "no status"), (":status", "200")], end=True)


def broken_frame(call):
    call.connection.send(frame(HEADERS, 0x5, call.number, b"\xff\xff\xff\xff"))


def unasked(call):
    call.connection.send(frame(DATA, 0x1, call.number, b"no head"))


SICK = {
    "503": (None, sick),
    "404": (None, with_status(404)),
    "302": (None, with_status(302, [("location", "/")])),
    "200 where another is expected": ("404", with_status(200)),
    "500 after hints": (None, lambda call: (call.interim(103), call.respond(500))),
    "an end after hints": (None, lambda call: (call.interim(103), call.reset(NO_ERROR))),
    "a reset": (None, lambda call: call.reset(INTERNAL_ERROR)),
    "a refusal": (None, lambda call: call.reset(REFUSED_STREAM)),
    "a close": (None, lambda call: call.connection.cut()),
    "a farewell": (
        None,
        lambda call: (call.connection.goaway(0, ENHANCE_YOUR_CALM), call.connection.cut()),
    ),
    "a head without a status": (None, broken_head),
    "a head that cannot be read": (None, broken_frame),
    "a body without a head": (None, unasked),
    "a head that is too large": (
        None,
        lambda call: call.head(
            [(":status", "200"), *((f"x-{place}", "y" * 8000) for place in range(12))], end=True
        ),
    ),
}


@pytest.mark.parametrize("case", SICK)
def test_answers_that_show_sickness(weir, endpoint, case):
    """None of them waits for the probe's timeout."""
    statuses, answer = SICK[case]
    behind, other = endpoint(answer), endpoint(with_status(int(statuses or 200)))
    running = weir(settings(behind, other, check=expecting(statuses)))
    wait_sick(running, behind)
    assert state(running, other) == "available"
    before = behind.mood.calls
    assert set(ask(running, 6)) == {200} and behind.mood.calls == before


# Those that say nothing, or something else


def silent(call):
    call.wait(lambda: call.connection.is_over, "weir gives the probe up")


def test_an_answer_that_does_not_come(weir, endpoint):
    behind, other = endpoint(silent), endpoint()
    running = weir(settings(behind, other, check=HASTY))
    wait_sick(running, behind)
    for connection in behind.connections[:2]:
        connection.wait_closed()
    running.reload(settings(behind, other))
    behind.mood.probed = well
    wait_well(running, behind)


def test_an_endpoint_that_says_nothing_at_all(weir, endpoint):
    """Not even its SETTINGS; with or without TLS' handshake."""
    behind = endpoint(is_mute=True)
    running = weir(settings(behind, check=HASTY))
    wait_sick(running, behind)
    behind.connections[0].wait_closed()


def test_a_handshake_that_does_not_come(weir, upstream, authority):
    behind = upstream(handle=lambda connection: connection.wait_closed())
    tls = {"ca": str(authority.certificate)}
    running = weir(settings(behind, check=HASTY, tls=tls))
    wait_sick(running, behind)


def old(connection):
    """What an endpoint of HTTP/1 says to a preface."""
    connection.start_line("a preface")
    connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def lying(connection):
    """A status of HTTP/1 that would do there."""
    connection.start_line("a preface")
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.wait_closed()


def noise(connection):
    connection.send(b"220 mail.test ESMTP\r\n" * 100)
    connection.wait_closed()


@pytest.mark.parametrize("handle", [old, lying, noise, lambda connection: None])
def test_an_endpoint_that_speaks_something_else(weir, upstream, endpoint, handle):
    behind, good = upstream(handle=handle), endpoint()
    running = weir(settings(behind, good))
    wait_sick(running, behind)
    assert state(running, good) == "available"


@pytest.mark.parametrize("protocols", [None, ["http/1.1"]])
def test_an_endpoint_of_tls_that_does_not_agree_on_http_2(weir, upstream, authority, protocols):
    context = authority.server(authority.issue("DNS:origin.test", "IP:127.0.0.1"))
    if protocols:
        context.set_alpn_protocols(protocols)
    # It would say that it is well, to whoever asks in HTTP/1.
    behind = upstream(tls=context)
    running = weir(settings(behind, tls={"ca": str(authority.certificate)}))
    wait_sick(running, behind)
    assert not behind.requests


def test_an_endpoint_that_is_not_who_it_should_be(weir, endpoint, authority):
    context = authority.server(authority.issue("DNS:other.test"))
    behind = endpoint(tls=context)
    running = weir(settings(behind, tls={"ca": str(authority.certificate)}))
    wait_sick(running, behind)
    assert not behind.requests


def test_a_port_on_which_nobody_listens(weir, endpoint):
    good = endpoint()
    with refusing() as dead:
        running = weir(settings(dead, good))
        wait_sick(running, dead)
        assert set(ask(running, 6)) == {200}


# The rest of a check


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_tcp_check_needs_only_a_connection(weir, endpoint, authority, is_secure):
    """Not one that speaks HTTP/2, nor TLS."""
    behind = endpoint(is_mute=True)
    options = {"tls": {"ca": str(authority.certificate)}} if is_secure else {}
    running = weir(settings(behind, check=HASTY, **options))
    wait_sick(running, behind)
    tcp = {key: value for key, value in CHECK.items() if key != "path"} | {"tcp": True}
    running.reload(settings(behind, check=tcp, **options))
    wait_well(running, behind)
    for connection in list(behind.connections):
        connection.wait_closed()


def test_a_tcp_check_finds_a_dead_port(weir, endpoint):
    behind = endpoint()
    tcp = {key: value for key, value in CHECK.items() if key != "path"} | {"tcp": True}
    running = weir(settings(behind, check=tcp))
    behind.wait(lambda: len(behind.connections) >= 3, "it is probed")
    assert state(running, behind) == "available" and not behind.requests
    behind.stop()
    wait_sick(running, behind)


def test_a_check_in_shadow_takes_nobody_out(weir, endpoint):
    behind, good = endpoint(sick), endpoint()
    running = weir(settings(behind, good, check=CHECK | {"mode": "shadow"}))

    def would_be():
        return running.total("weir_endpoint_would_be_unhealthy", endpoint=behind.address) == 1

    until(would_be, "it is found unhealthy")
    assert state(running, behind) == "available"
    assert set(ask(running, 10)) == {200} and behind.mood.calls > 0


def only_old(connection):
    """An endpoint that is well, and knows HTTP/1 alone."""
    if connection.start_line("a request line") == b"GET /healthz HTTP/1.1":
        connection.fields("a probe")
        connection.send(ok())


def test_a_cluster_may_change_its_protocol(weir, upstream):
    behind = upstream(handle=only_old)
    running = weir(settings(behind))
    wait_sick(running, behind)
    running.reload(settings(behind, http2=False))
    wait_well(running, behind)
    running.reload(settings(behind))
    wait_sick(running, behind)


def test_probes_stop_with_their_check(weir, endpoint):
    behind = endpoint(sick)
    running = weir(settings(behind))
    wait_sick(running, behind)
    running.reload(settings(behind, check="off"))
    assert state(running, behind) == "available"
    for connection in list(behind.connections):
        connection.wait_closed()
    with Client(running.edge) as client:
        client.request()
        assert client.read().status == 200
