"""Ceilings, the queue, priority classes and deadlines: who gets a place, who waits, who is refused."""

import threading
import time

import pytest

from harness import Client, cluster, configuration, forward, listener, ok, patience, until
from harness.http2 import INITIAL_WINDOW_SIZE, Http2Client


class Gate:
    """An upstream's answers wait here until they are let through."""

    def __init__(self):
        self.open = threading.Event()
        self.tickets = threading.Semaphore(0)

    def answer(self, request):
        if not self.open.is_set():
            limit = time.monotonic() + patience(60)
            while not self.open.is_set() and not self.tickets.acquire(timeout=0.05):
                assert time.monotonic() < limit
        return ok(request.target.encode())


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()


def settings(behind, routes=None, listeners=None, workers=1, **options):
    return configuration([cluster("main", behind, **options)], routes, listeners, runtime={"workers": workers})


def waiting(running):
    return running.total("weir_queue_length")


def send(running, path="/", headers=()):
    client = Client(running.edge, seconds=30)
    client.request(path=path, headers=headers)
    return client


@pytest.mark.parametrize("workers", [1, 2])
def test_max_requests_is_exact_across_workers(weir, upstream, gate, workers):
    """Envoy's max_connections of 4 let 5 through with one worker and 7 with two."""
    behind = upstream(gate.answer)
    running = weir(settings(behind, workers=workers, circuit_breakers={"max_requests": 4}))
    clients = [send(running, f"/{number}") for number in range(4)]
    behind.wait_requests(4)
    for _ in range(20):
        refused = running.get()
        assert (refused.status, refused.reason) == (503, "ceiling")
        assert int(refused.one("retry-after")) >= 1
    gate.open.set()
    for client in clients:
        assert client.read().status == 200
        client.close()
    until(lambda: running.get().status == 200, "the places are free again")
    assert max(len(c.requests) for c in behind.connections) >= 1


def shadows(running):
    return [line.get("would_refuse") for line in running.log()]


@pytest.mark.parametrize(
    "options, reason",
    [
        ({}, "ceiling"),
        ({"max_pending_requests": 1}, "queue_full"),
    ],
)
def test_ceilings_in_shadow_refuse_nobody_and_say_whom_they_would_have(weir, upstream, gate, options, reason):
    behind = upstream(gate.answer)
    ceilings = {"mode": "shadow", "max_requests": 3} | options
    running = weir(settings(behind, circuit_breakers=ceilings))
    clients = [send(running, f"/{number}") for number in range(6)]
    behind.wait_requests(6)
    gate.open.set()
    for client in clients:
        assert client.read().status == 200
        client.close()
    wanted = 2 if options else 3
    assert running.wait_log(6) and shadows(running).count(reason) == wanted
    assert shadows(running).count(None) == 6 - wanted
    assert running.wait_total(wanted, "weir_would_refuse_total", reason=reason) == wanted
    assert running.wait_total(wanted, "weir_would_refuse_total") == wanted
    assert running.total("weir_refusals_total") == 0 and waiting(running) == 0
    # Places in shadow come free like others.
    assert [running.get().status for _ in range(10)] == [200] * 10
    assert running.wait_total(wanted, "weir_would_refuse_total") == wanted


def test_a_limit_in_shadow_is_shown_and_refuses_nobody(weir, upstream, gate):
    behind = upstream(gate.answer)
    concurrency = {"mode": "shadow", "min": 2, "max": 2}
    running = weir(settings(behind, concurrency=concurrency, queue="off"))
    until(lambda: running.status()["uptime_seconds"] > 0.3, "a tick of the control thread, which also answers")
    clients = [send(running, f"/{number}") for number in range(5)]
    behind.wait_requests(5)
    assert running.wait_total(3, "weir_endpoint_would_exceed_total") == 3
    [endpoint] = running.status()["clusters"][0]["endpoints"]
    assert (endpoint["limit"], endpoint["shadow_limit"], endpoint["would_exceed"]) == (None, 2, 3)
    gate.open.set()
    for client in clients:
        assert client.read().status == 200
        client.close()
    assert running.wait_log(5) and sorted(shadows(running), key=str) == [None] * 2 + ["ceiling"] * 3
    assert running.wait_total(3, "weir_would_refuse_total", reason="ceiling") == 3


def test_what_is_in_flight_counts_after_a_reload(weir, upstream, gate):
    """Envoy forgets what is in flight when a cluster changes."""
    behind = upstream(gate.answer)
    made = settings(behind, circuit_breakers={"max_requests": 2})
    running = weir(made)
    clients = [send(running), send(running)]
    behind.wait_requests(2)
    running.reload(settings(behind, circuit_breakers={"max_requests": 2}, connect_timeout="333ms"))
    assert running.get().reason == "ceiling"
    gate.open.set()
    for client in clients:
        assert client.read().status == 200
        client.close()


def test_a_request_waits_for_a_place(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(
        settings(behind, circuit_breakers={"max_requests": 1}, queue={"max_wait": "30s", "max_length": 2})
    )
    first = send(running, "/first")
    behind.wait_requests(1)
    second = send(running, "/second")
    until(lambda: waiting(running) == 1, "the second waits")
    third = send(running, "/third")
    until(lambda: waiting(running) == 2, "the third waits")
    full = running.get()
    assert (full.status, full.reason) == (503, "queue_full")
    gate.open.set()
    assert [client.read().body for client in (first, second, third)] == [b"/first", b"/second", b"/third"]
    lines = running.wait_log(4)
    assert any(line["ms"]["queue"] > 0 for line in lines if line["path"] == "/third")
    for client in (first, second, third):
        client.close()


def test_the_wait_has_a_bound(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(settings(behind, circuit_breakers={"max_requests": 1}, queue={"max_wait": "50ms"}))
    first = send(running)
    behind.wait_requests(1)
    late = running.get()
    assert (late.status, late.reason) == (503, "queue_timeout")
    assert len(behind.requests) == 1
    gate.open.set()
    assert first.read().status == 200
    first.close()


def test_a_client_that_leaves_the_queue_is_forgotten(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(settings(behind, circuit_breakers={"max_requests": 1}, queue={"max_wait": "30s"}))
    first = send(running, "/first")
    behind.wait_requests(1)
    second = send(running, "/second")
    until(lambda: waiting(running) == 1, "the second waits")
    second.close()
    until(lambda: waiting(running) == 0, "nobody waits")
    gate.open.set()
    assert first.read().body == b"/first"
    assert [request.target for request in behind.requests] == ["/first"]
    assert running.wait_log(1, lambda line: line["path"] == "/second")[0]["reason"] == "client_gone"
    first.close()


def priorities(behind, gate, **options):
    made = settings(
        behind,
        listeners=[listener(trusted=["127.0.0.0/8"])],
        circuit_breakers={"max_requests": 1},
        queue={"max_wait": "30s", "max_length": 2},
        **options,
    )
    made["priorities"] = {
        "classes": ["critical", "default", "sheddable"],
        "default_class": "default",
        "request_header": "x-priority",
    }
    return made


def test_a_better_class_goes_first_and_pushes_out(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(priorities(behind, gate))
    first = send(running, "/first")
    behind.wait_requests(1)
    low = send(running, "/low", ["x-priority: sheddable"])
    until(lambda: waiting(running) == 1, "the low one waits")
    middle = send(running, "/middle")
    until(lambda: waiting(running) == 2, "two wait")
    high = send(running, "/high", ["x-priority: critical"])
    pushed = low.read()
    assert (pushed.status, pushed.reason) == (503, "pushed_out")
    refused = running.get(headers=["x-priority: sheddable"])
    assert refused.reason == "queue_full", "what is worse than all that waits is refused"
    for _ in range(3):
        gate.tickets.release()
    assert first.read().status == 200
    assert high.read().body == b"/high"
    assert middle.read().body == b"/middle"
    assert [request.target for request in behind.requests] == ["/first", "/high", "/middle"]
    assert running.wait_log(1, lambda line: line["path"] == "/high")[0]["priority"] == "critical"
    for client in (first, low, middle, high):
        client.close()


def test_nobody_makes_himself_important(weir, upstream, gate):
    behind = upstream(gate.answer)
    gate.open.set()
    made = priorities(behind, gate)
    made["listeners"] = [listener()]
    running = weir(made)
    claims = ["X-Priority: critical", "x_priority: critical", "x-priorities: all"]
    assert running.get(headers=claims).status == 200
    assert running.wait_log(1)[0]["priority"] == "default"
    names = {name for name, _ in behind.requests[0].fields}
    assert "x-priorities" in names and not names & {"x-priority", "x_priority"}, "nor behind this one"


def test_a_trusted_proxys_class_is_passed_on(weir, upstream, gate):
    behind = upstream(gate.answer)
    gate.open.set()
    running = weir(priorities(behind, gate))
    assert running.get(headers=["x-priority: critical"]).status == 200
    assert behind.requests[0].one("x-priority") == "critical"


def test_a_deadline_is_carried_on_and_kept(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(settings(behind))
    late = running.get(headers=["x-request-deadline: 100"])
    assert (late.status, late.reason) == (504, "deadline")
    assert 1 <= int(behind.requests[0].one("x-request-deadline")) <= 100


def test_a_deadline_bounds_the_wait_as_well(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(settings(behind, circuit_breakers={"max_requests": 1}, queue={"max_wait": "30s"}))
    first = send(running)
    behind.wait_requests(1)
    late = running.get(headers=["x-request-deadline: 100"])
    assert (late.status, late.reason) == (504, "deadline")
    assert len(behind.requests) == 1, "what comes too late is not begun"
    gate.open.set()
    first.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_is_gone_is_not_worked_for(weir, upstream, how):
    ended = threading.Event()

    def handle(connection):
        connection.read()
        if connection.wait_closed(30):
            ended.set()

    behind = upstream(handle=handle)
    running = weir(settings(behind))
    client = send(running)
    behind.wait_requests(1)
    if how == "reset":
        import socket
        import struct

        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert ended.wait(patience(15)), "the attempt is cancelled"
    assert running.wait_log(1)[0]["reason"] == "client_gone"


def test_a_half_closed_client_is_served_where_that_is_allowed(weir, upstream, gate):
    behind = upstream(gate.answer)
    running = weir(settings(behind, listeners=[listener(limits={"allow_half_close": True})]))
    with running.client() as client:
        client.request()
        client.shutdown()
        behind.wait_requests(1)
        gate.open.set()
        assert client.read().status == 200
        client.expect_end()


def test_a_place_at_an_endpoint_that_comes_and_goes(weir, upstream, gate):
    """Who waited gets a place at an endpoint that one reload has brought, and the next takes away."""
    arrived, leave = threading.Event(), threading.Event()

    def handle(connection):
        connection.read_head()
        arrived.set()
        leave.wait(patience(30))
        connection.reset()

    def made(*behind):
        bounds = {"circuit_breakers": {"max_requests": 1}, "queue": {"max_wait": "30s"}}
        outlier = {"consecutive_5xx": 1, "max_ejection_percent": 100, "panic_threshold": 0}
        made = cluster("main", *behind, outlier_detection=outlier, **bounds)
        return configuration([made], [forward(request_buffer="0B")], runtime={"workers": 1})

    def fail(request):
        gate.answer(request)
        return ok(status="500 No")

    first, second = upstream(fail), upstream(handle=handle)
    running = weir(made(first))
    before = send(running)
    first.wait_requests(1)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + bytes(10_000))
        until(lambda: waiting(running) == 1, "it waits")
        running.reload(made(first, second))
        # Its endpoint is ejected: the place that comes free is the other's.
        gate.open.set()
        assert before.read().status == 500
        assert arrived.wait(patience(15))
        running.reload(made(first))
        leave.set()
        assert client.read().reason == "upstream_reset"
        # Nothing but the exchange knows the endpoint any more when it comes to its end.
        client.send(bytes(10_000))
        line = running.wait_log(2)[1]
        assert (line["reason"], line["endpoint"]) == ("upstream_reset", second.address)
    before.close()


def test_who_reads_nothing_does_not_wait_for_more(weir, upstream):
    """What such a client has in the queue ends with it: a place that came later was a stranger's."""

    def answer(request):
        return ok(bytes(8 << 20) if request.target == "/large" else request.target.encode())

    behind = upstream(answer)
    limits = {"send_timeout": f"{patience(2):.0f}s", "send_min_rate": "1KiB/s"}
    bounds = {"circuit_breakers": {"max_requests": 1}, "queue": {"max_wait": "60s"}}
    running = weir(settings(behind, listeners=[listener(limits=limits)], **bounds))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 1 << 30}, windows=False, receive_buffer=4096) as client:
        client.open_window(None, 1 << 30)
        client.request(path="/large")
        behind.wait_requests(1)
        for number in range(5):
            client.request(path=f"/waits/{number}")
        until(lambda: waiting(running) == 5, "they wait")
        until(lambda: running.total("downstream_connections") == 0, "the client is cut off", 30)
    assert waiting(running) == 0
    for number in range(10):
        assert running.get(f"/{number}").body == b"/%d" % number
    until(lambda: running.total("weir_endpoint_in_flight") == 0, "all places are free")
