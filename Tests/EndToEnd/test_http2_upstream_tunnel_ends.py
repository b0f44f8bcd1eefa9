"""How WebSockets over an endpoint's HTTP/2 end, and that nothing else ends with them."""

import asyncio
import os
import signal
import threading

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Opcode
from websockets.protocol import SERVER, Protocol

from harness import cluster, configuration, forward, patience, until
from harness.http2 import CANCEL, ENABLE_CONNECT_PROTOCOL, INTERNAL_ERROR, NO_ERROR, Http2Client
from harness.tunnels import New, Old, consent, echo, pieces

MIB = 1 << 20


@pytest.fixture(params=[Old, New], ids=["http1", "http2"])
def speak(request):
    """A way to have an open tunnel, by either version."""
    made = []

    def start(running, path="/chat"):
        made.append(request.param(running.edge))
        answer = made[-1].ask(path)
        assert answer.status == made[-1].consent, (answer.status, answer.reason)
        return made[-1]

    start.is_old = request.param is Old
    yield start
    for tunnel in made:
        tunnel.close()


def settings(*behind, route=None, runtime=None, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    runtime = {"workers": 1} | (runtime or {})
    return configuration(clusters, [forward(**(route or {}))], runtime=runtime)


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint of HTTP/2 that takes tunnels."""

    def start(answer=echo, **options):
        offer = {ENABLE_CONNECT_PROTOCOL: 1}
        behind = http2_upstream(answer, settings=offer, early=True)
        return weir(settings(behind, **options)), behind

    return start


class Witness:
    """Another call and another tunnel of the same connection, which must not be harmed."""

    def __init__(self, running, behind):
        self.client, self.tunnel = Http2Client(running.edge), New(running.edge)
        self.stream = self.client.request("POST", "/held", end=False)
        self.client.data(self.stream, b"be", end=False)
        assert self.tunnel.ask().status == 200
        self.behind = behind
        behind.wait_requests(2)

    def check(self):
        self.tunnel.send(b"still here")
        assert self.tunnel.take(10) == b"still here"
        self.client.data(self.stream, b"fore")
        answer = self.client.read(self.stream)
        assert (answer.status, answer.body) == (200, b"before")
        self.tunnel.end()
        assert self.tunnel.rest() == b"" and self.tunnel.stream.has_ended
        assert len(self.behind.connections) == 1
        self.client.close()
        self.tunnel.close()


@pytest.fixture
def watched(site):
    """The same with a witness; `answer` is for tunnels to /bad."""

    def start(answer, **options):
        def work(call):
            if call.path == "/bad":
                return answer(call)
            if call.method == "CONNECT":
                return echo(call)
            call.wait_end()
            call.respond(body=bytes(call.body))

        running, behind = site(work, route={"request_buffer": "0B"}, **options)
        return running, behind, Witness(running, behind)

    return start


def wait_over(call):
    """Waits until weir has ended a stream, in order or as one that it gives up."""
    call.wait(lambda: not call.is_open, f"{call.path} is over")
    assert call.reset_code in (None, NO_ERROR, CANCEL)


# The client ends


def test_the_clients_end_is_passed_on_and_answered(watched, speak):
    """What the endpoint says after it is not lost."""

    def answer(call):
        consent(call)
        call.wait_end()
        call.data(b"got " + bytes(call.body))

    running, behind, witness = watched(answer)
    tunnel = speak(running, "/bad")
    tunnel.send(b"all")
    tunnel.send(b" of it")
    tunnel.end()
    assert tunnel.rest() == b"got all of it"
    if not speak.is_old:
        assert tunnel.stream.has_ended and tunnel.stream.reset in (None, NO_ERROR)
    assert behind.requests[-1].has_ended and behind.requests[-1].reset_code is None
    witness.check()


@pytest.mark.parametrize("way", ["leave", "close"])
def test_a_client_that_leaves_is_not_sent_to(watched, speak, way):
    """The endpoint, which has no end of its own, is told."""

    def answer(call):
        consent(call)
        while True:
            call.data(b"x" * 1000, end=False)

    running, behind, witness = watched(answer)
    tunnel = speak(running, "/bad")
    tunnel.take(10_000)
    getattr(tunnel, way)()
    assert behind.requests[-1].wait_reset() == CANCEL
    witness.check()


@pytest.mark.parametrize("way", ["leave", "close"])
def test_an_idle_client_that_leaves_is_noticed(watched, speak, way):
    running, behind, witness = watched(echo)
    tunnel = speak(running, "/bad")
    tunnel.send(b"x")
    assert tunnel.take(1) == b"x"
    getattr(tunnel, way)()
    wait_over(behind.requests[-1])
    witness.check()


def test_a_client_that_leaves_before_the_consent(watched):
    """Nobody is there any more for whom the endpoint could consent."""
    go = threading.Event()

    def answer(call):
        assert go.wait(patience(30))
        consent(call)

    running, behind, witness = watched(answer)
    with Http2Client(running.edge) as client:
        lead = client.fields("CONNECT", "/bad")
        stream = client.open([lead[0], (":protocol", "websocket"), *lead[1:]], end=False)
        call = behind.wait_requests(3)[-1]
        client.cancel(stream)
        assert call.wait_reset() == CANCEL
        go.set()
        assert client.ping() and stream.status is None
    witness.check()


# The endpoint ends


def last_words(call):
    consent(call)
    call.data(b"bye")


def trailers(call):
    consent(call)
    call.data(b"bye", end=False)
    call.head([("x-why", "because")], end=True)


def test_the_endpoints_end_is_passed_on(watched, speak):
    running, behind, witness = watched(last_words)
    tunnel = speak(running, "/bad")
    assert tunnel.rest() == b"bye"
    if not speak.is_old:
        assert tunnel.stream.has_ended and tunnel.stream.reset in (None, NO_ERROR)
        assert tunnel.client.ping()
    wait_over(behind.requests[-1])
    witness.check()


def test_an_end_that_comes_with_the_consent(watched, speak):
    running, behind, witness = watched(lambda call: consent(call, end=True))
    tunnel = speak(running, "/bad")
    assert tunnel.rest() == b""
    wait_over(behind.requests[-1])
    witness.check()


def test_trailers_end_a_tunnel_too(watched, speak):
    """They have no meaning there; whether they end it in order is not said here."""
    running, behind, witness = watched(trailers)
    tunnel = speak(running, "/bad")
    assert tunnel.rest() in (b"bye", b"")
    behind.wait(lambda: not behind.requests[-1].is_open, "the stream is over")
    witness.check()


@pytest.mark.parametrize("code", [CANCEL, INTERNAL_ERROR])
def test_a_reset_is_no_end_in_order(watched, speak, code):
    """The client is not told that what it has is all there was."""

    def answer(call):
        consent(call)
        call.data(b"half", end=False)
        for _ in pieces(call):
            return call.reset(code)

    running, _, witness = watched(answer)
    tunnel = speak(running, "/bad")
    assert tunnel.take(4) == b"half"
    tunnel.send(b"go on")
    assert tunnel.rest() == b""
    if not speak.is_old:
        assert tunnel.stream.reset is not None and not tunnel.stream.has_ended
        assert tunnel.client.ping(), "its connection goes on"
    (line,) = running.wait_log(1, lambda line: line["path"] == "/bad")
    assert (line["reason"], line["ended_by"]) == ("upstream_reset", "upstream")
    witness.check()


def test_a_connection_that_breaks_off_ends_its_tunnels(site, speak):
    running, behind = site()
    tunnels = [speak(running) for _ in range(10)]
    behind.connections[0].cut()
    for tunnel in tunnels:
        assert tunnel.rest() == b""
        if not speak.is_old:
            assert tunnel.stream.reset is not None and not tunnel.stream.has_ended
    again = speak(running)
    again.send(b"x")
    assert again.take(1) == b"x"
    assert len(behind.connections) == 2


def test_tunnels_outlive_a_connection_that_takes_no_more(site, speak):
    running, behind = site()
    tunnel = speak(running)
    first = behind.connections[0]
    first.goaway()

    def has_moved():
        assert running.get("/page").status == 200
        return len(behind.connections) == 2

    until(has_moved, "weir uses another connection")
    for number in range(10):
        tunnel.send(b"%d" % number)
        assert tunnel.take(1) == b"%d" % number
    assert not first.is_over
    tunnel.end()
    assert tunnel.rest() == b""
    first.wait_closed()


# Limits, reloads, the end of weir


def test_silence_ends_a_tunnel(watched, speak):
    def answer(call):
        consent(call)
        for _ in pieces(call):
            pass

    running, behind, witness = watched(answer)
    quiet = settings(behind, route={"request_buffer": "0B", "idle_timeout": "300ms"})
    running.reload(quiet)
    tunnel = speak(running, "/bad")
    assert tunnel.rest() == b""
    wait_over(behind.requests[-1])
    # It has begun under the settings before.
    witness.check()


def test_a_routes_timeout_is_for_the_consent_alone(site, speak):
    running, behind = site(route={"timeout": f"{patience(500):g}ms"})
    tunnel = speak(running)
    over = threading.Event()
    for number in range(15):
        over.wait(patience(0.1))
        tunnel.send(b"%d" % (number % 10))
        assert tunnel.take(1) == b"%d" % (number % 10)
    assert behind.requests[0].is_open


def test_a_consent_that_does_not_come(site):
    over = threading.Event()
    running, behind = site(lambda call: over.wait(patience(30)), route={"timeout": "200ms"})
    for kind in (Old, New):
        tunnel = kind(running.edge)
        answer = tunnel.ask()
        assert (answer.status, answer.reason) == (504, "upstream_timeout")
        tunnel.close()
    over.set()
    assert [call.wait_reset() for call in behind.requests] == [CANCEL] * 2


def test_tunnels_survive_reloads(site, http2_upstream, speak):
    """That of an endpoint which is no longer one, too."""
    running, behind = site()
    tunnel = speak(running)
    other = http2_upstream()
    for number in range(10):
        endpoint = other if number > 5 else behind
        running.reload(settings(endpoint, connect_timeout=f"{number + 1}s"))
        tunnel.send(b"%d" % number)
        assert tunnel.take(1) == b"%d" % number
    assert running.get().status == 200 and len(other.requests) == 1


@pytest.mark.forced
def test_a_drain_lasts_no_longer_for_tunnels(site, speak):
    running, behind = site(runtime={"drain_timeout": "500ms"})
    tunnels = [speak(running) for _ in range(3)]
    running.signal(signal.SIGTERM)
    for tunnel in tunnels:
        assert tunnel.rest() == b""
    assert running.wait_exit() == 0
    behind.connections[0].wait_closed()


def test_a_drain_waits_for_tunnels(site, speak):
    running, _ = site(runtime={"drain_timeout": "60s"})
    tunnel = speak(running)
    with running.client() as probe:
        probe.request()
        assert probe.read().status == 200
        running.signal(signal.SIGTERM)
        probe.expect_end()
    tunnel.send(b"x")
    assert tunnel.take(1) == b"x"
    tunnel.end()
    assert tunnel.rest() == b""
    tunnel.close()
    assert running.wait_exit() == 0


# What is seen of it


def test_a_hundred_tunnels_leave_nothing_behind(site, speak):
    running, behind = site()
    assert running.get().status == 200
    before = running.open_files
    tunnels = [speak(running) for _ in range(100)]
    # A tunnel is no request in flight any more: it holds no place.
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")
    for tunnel in tunnels:
        tunnel.close()
    for call in behind.requests:
        wait_over(call)
    until(lambda: running.open_files <= before + 1, "all descriptors are free again")
    until(lambda: running.total("http_requests_in_flight") == 0, "none is left")


def test_the_log_and_the_metrics_know_tunnels(site, speak):
    running, behind = site()
    tunnel = speak(running, "/chat?q=1")
    tunnel.send(b"x" * 5000)
    tunnel.take(5000)
    tunnel.end()
    tunnel.rest()
    (line,) = running.wait_log()
    assert (line["status"], line["method"], line["path"]) == (101, "GET", "/chat?q=1")
    assert (line["endpoint"], line["attempts"], line["reason"]) == (behind.address, 1, None)
    assert line["bytes_in"] >= 5000 and line["bytes_out"] >= 5000
    assert running.wait_total(1, "http_requests_total", code_class="1xx") == 1


# A real client


def websocket_echo(call):
    """Answers each message with the same one, by the library's own idea of a server."""
    consent(call) if call.path == "/chat" else call.head([(":status", "200")])
    speaker = Protocol(SERVER, max_size=None)
    for piece in pieces(call):
        speaker.receive_data(piece)
        for event in speaker.events_received():
            if event.opcode is Opcode.TEXT:
                speaker.send_text(event.data)
            elif event.opcode is Opcode.BINARY:
                speaker.send_binary(event.data)
        for data in speaker.data_to_send():
            if data:
                call.data(data, end=False)
    call.data()


def test_websockets(site):
    running, behind = site(websocket_echo)

    async def main():
        options = {"max_size": None, "open_timeout": patience(10), "subprotocols": ["chat"]}
        async with connect(f"ws://{running.edge}/chat", **options) as socket:
            assert socket.subprotocol == "chat"
            for message in ("hello", "", "x" * 100_000, os.urandom(2 * MIB)):
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), patience(15)) == message
            await asyncio.wait_for(await socket.ping(), patience(15))
        assert socket.close_code == 1000

    asyncio.run(main())
    wait_over(behind.requests[0])


def test_fifty_websockets_at_once(site):
    running, behind = site(websocket_echo)

    async def one(number):
        async with connect(f"ws://{running.edge}/", open_timeout=patience(10)) as socket:
            for turn in range(20):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"

    async def main():
        await asyncio.wait_for(asyncio.gather(*map(one, range(50))), patience(30))

    asyncio.run(main())
    assert len(behind.requests) == 50 and len(behind.connections) == 1
