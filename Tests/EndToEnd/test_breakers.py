"""Breakers: what they answer in an endpoint's place, and what their probes wait for."""

import contextlib
import threading

import pytest

from harness import cluster, configuration, forward, ok, patience, until
from harness.http2 import Http2Client

BREAKER = {"failure_percent": 50, "min_requests": 5, "open_for": "50ms", "probes": 1}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
CALL = ("content-type", "application/grpc")


def settings(behind, **options):
    clusters = [cluster("main", behind, **options)]
    return configuration(clusters, [forward(breaker=BREAKER)], runtime={"workers": 1})


def state(running):
    [state] = running.status()["route_breakers"].values()
    return state


class Endpoint:
    """Fails until it is told to do well; what it is asked for at /held goes on after its answer's head."""

    def __init__(self, begin=b""):
        self.begin, self.does_well, self.over = begin, False, threading.Event()

    def handle(self, connection):
        while (request := connection.read()) is not None:
            if not self.does_well:
                connection.send(ok(status="500 Internal Server Error"))
            elif request.target == "/held":
                connection.send(self.begin)
                self.over.wait(patience(60))
                return connection.reset()
            else:
                connection.send(ok())

    def answer(self, call):
        if not self.does_well:
            call.respond(500)
        elif call.path == "/held":
            call.head([(":status", "200"), CALL])
            self.over.wait(patience(60))
        else:
            call.respond()

    def recover(self, running):
        """Opens the breaker, and does well from then on."""
        assert [running.get().status for _ in range(5)] == [500] * 5
        # An answer is on its way before it is counted.
        until(lambda: state(running) == "open", "it opens")
        self.does_well = True


@contextlib.contextmanager
def held(running, headers=()):
    """A request whose answer has begun."""
    clients = []

    def begin():
        clients.append(running.client())
        clients[-1].request(path="/held", headers=headers)
        return clients[-1].read_head().status < 500

    until(begin, "a probe is let through")
    yield
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "begin, headers",
    [(EVENTS, []), (SWITCH, ["Connection: upgrade", "Upgrade: echo"])],
    ids=["events", "tunnel"],
)
def test_what_goes_on_holds_no_probe_up(weir, upstream, begin, headers):
    behind = Endpoint(begin)
    running = weir(settings(upstream(handle=behind.handle)))
    behind.recover(running)
    with held(running, headers):
        assert [running.get().status for _ in range(5)] == [200] * 5
        assert state(running) == "closed"
    behind.over.set()


def test_a_call_that_goes_on_holds_no_probe_up(weir, http2_upstream):
    behind = Endpoint()
    running = weir(settings(http2_upstream(behind.answer, early=True), http2=True))
    behind.recover(running)
    with Http2Client(running.edge) as client:

        def begin():
            stream = client.request("POST", "/held", [CALL, ("te", "trailers")], end=False)
            assert client.until(lambda: stream.status)
            return not stream.all("grpc-status")

        until(begin, "a probe is let through")
        assert [running.get().status for _ in range(5)] == [200] * 5
        assert state(running) == "closed"
    behind.over.set()


def test_the_end_of_a_tunnel_is_no_failure(weir, upstream):
    """An endpoint that goes away resets all of its tunnels: they had been answered well."""
    behind = Endpoint(SWITCH)
    behind.does_well = True
    running = weir(settings(upstream(handle=behind.handle)))
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(held(running, ["Connection: upgrade", "Upgrade: echo"]))
        behind.over.set()
        until(lambda: running.total("upstream_connections") == 0, "all of them are over")
    assert state(running) == "closed"
