"""The end of a listener or of weir under HTTP/2: two GOAWAYs, and no stream that is lost."""

import signal
import threading
import time

import pytest

from harness import cluster, configuration, forward, free_address, listener, ok, patience, until
from harness.http2 import CLOSED, LARGEST, NO_ERROR, REFUSED_STREAM, Http2Client


class Gate:
    """Answers of an endpoint that wait, but for those of /quick."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, request):
        if request.target != "/quick":
            assert self.event.wait(patience(60))
        return ok(request.target.encode() + request.body)

    def open(self):
        self.event.set()


@pytest.fixture(params=["reload", "SIGTERM"])
def site(request, weir, upstream):
    """(weir, the address that will end, its endpoint, the gate, what ends it)"""
    gate = Gate()
    behind = upstream(gate)
    rest = configuration([cluster("main", behind)], runtime={"workers": 1, "drain_timeout": "60s"})
    running = weir(rest | {"listeners": [listener(), listener("second", free_address())]})

    def end():
        if request.param == "reload":
            running.reload(rest)
        else:
            running.signal(signal.SIGTERM)

    yield running, running.address("second"), behind, gate, end
    gate.open()
    if request.param == "SIGTERM":
        assert running.wait_exit() == 0
    else:
        assert running.get("/quick").status == 200, "the other listener lives on"


def test_an_idle_connection_ends_at_once(site):
    _, address, _, _, end = site
    fresh, used = Http2Client(address), Http2Client(address)
    with fresh, used:
        assert used.get("/quick").status == 200
        end()
        for client in (fresh, used):
            client.expect_close(NO_ERROR)
            assert {goaway.error_code for goaway in client.goaways} == {NO_ERROR}
            assert client.goaways[-1].last_stream_id == (1 if client is used else 0)


def test_what_is_under_way_is_answered_in_full(site):
    """First all streams are still welcome, then the last one is named, then the connection ends."""
    _, address, behind, gate, end = site
    with Http2Client(address) as client:
        streams = [client.request(path=f"/{number}") for number in range(5)]
        behind.wait_requests(5)
        end()
        assert client.until(lambda: client.goaways)
        first = client.goaways[0]
        assert (first.last_stream_id, first.error_code) == (LARGEST, NO_ERROR)
        # What crosses the first GOAWAY on its way is still served.
        crossing = client.request("POST", "/crossing", body=b"!")
        assert client.until(lambda: len(client.goaways) == 2)
        second = client.goaways[1]
        assert (second.last_stream_id, second.error_code) == (crossing.number, NO_ERROR)
        assert not any(stream.is_over for stream in streams)
        gate.open()
        for number, stream in enumerate(streams):
            assert client.read(stream).body == b"/%d" % number
        assert client.read(crossing).body == b"/crossing!"
        client.expect_close(NO_ERROR)
    assert len(behind.requests) == 6


def test_what_comes_after_the_last_goaway_is_not_begun(site):
    """A client that asks then may ask again elsewhere: the endpoint has not heard of it."""
    _, address, behind, gate, end = site
    with Http2Client(address) as client:
        stream = client.request(path="/before")
        behind.wait_requests(1)
        end()
        assert client.until(lambda: len(client.goaways) == 2)
        late = client.request(path="/late")
        assert client.ping()
        gate.open()
        assert client.read(stream).body == b"/before"
        client.expect_close(NO_ERROR)
        assert late.status is None and late.reset in (None, REFUSED_STREAM)
    assert [request.target for request in behind.requests] == ["/before"]


def test_bodies_under_way_are_not_cut(weir, upstream):
    """One that is still sent, and one that is still received, with the windows that they need."""
    go, size = threading.Event(), 300_000

    def handle(connection):
        request = connection.read_head()
        if request.method == "GET":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            connection.send(b"x" * (size // 2))
            assert go.wait(patience(60))
            connection.send(b"x" * (size // 2))
        else:
            connection.read_body(request)
            connection.send(ok(b"%d" % len(request.body)))
        connection.wait_closed()

    settings = configuration([cluster("main", upstream(handle=handle))])
    running = weir(settings | {"runtime": {"workers": 1, "drain_timeout": "60s"}})
    with running.client() as probe, Http2Client(running.edge) as client:
        down = client.request()
        up = client.request("POST", "/", [("content-length", str(size))], end=False)
        client.data(up, b"y" * (size // 2), end=False)
        assert client.until(lambda: down.length == size // 2)
        running.signal(signal.SIGTERM)
        probe.expect_end()
        assert client.until(lambda: len(client.goaways) == 2)
        go.set()
        client.data(up, b"y" * (size // 2))
        assert client.read(up).body == b"%d" % size
        assert client.read(down).length == size
        client.expect_close(NO_ERROR)
    assert running.wait_exit() == 0


@pytest.mark.forced
def test_a_drain_is_bounded(weir, upstream):
    gate = Gate()
    settings = configuration([cluster("main", upstream(gate))], runtime={"drain_timeout": "500ms"})
    running = weir(settings)
    with Http2Client(running.edge) as client:
        streams = [client.request() for _ in range(3)]
        assert client.get("/quick").status == 200
        running.signal(signal.SIGTERM)
        started = time.monotonic()
        assert running.wait_exit() == 0
        assert time.monotonic() - started < patience(8)
        client.expect_close()
        for stream in streams:
            assert stream.status in (None, 503) or stream.reason == "draining", stream.outcome
    gate.open()


# Load


class Load:
    """Clients that send ten streams at a time, each with a body of its own, and check the echo.

    One that is told to go connects anew; what the server did not begin is no loss.
    """

    def __init__(self, connect, clients=4, per_connection=None):
        self.connect, self.per_connection = connect, per_connection
        self.stop, self.wrong, self.served = threading.Event(), [], [0] * clients
        self.threads = [
            threading.Thread(target=self.guarded, args=(place,)) for place in range(clients)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        until(lambda: min(self.served) > 20 or self.wrong, "requests flow")
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(patience(20))

    def guarded(self, place):
        try:
            while not self.stop.is_set() and not self.wrong:
                self.talk(place)
        except Exception as error:
            self.wrong.append(error)

    def talk(self, place):
        with self.connect() as client:
            rounds = 0
            while not self.stop.is_set() and not client.goaways and rounds != self.per_connection:
                rounds += 1
                streams = {}
                for number in range(10):
                    body = b"%d %d %d " % (place, self.served[place], number) * (1 + number * 300)
                    try:
                        streams[body] = client.request("POST", f"/{number}", body=body)
                    except CLOSED:
                        break
                for body, stream in streams.items():
                    client.until(lambda: stream.is_over)
                    last = client.goaways[-1].last_stream_id if client.goaways else LARGEST
                    if (stream.status, stream.body) == (200, body) and stream.has_ended:
                        self.served[place] += 1
                    elif stream.number <= last:
                        self.wrong.append((stream.outcome, client.goaways))

    def check(self):
        assert not self.wrong, self.wrong[:3]


def test_ten_reloads_under_load_lose_nothing(weir, upstream):
    behind = [upstream(lambda request: ok(request.body)) for _ in range(2)]

    def settings(number):
        endpoints = behind if number % 2 else behind[1:]
        return configuration(
            [cluster("main", *endpoints), cluster(f"extra{number}", "127.0.0.1:9")],
            [
                forward("main", name=f"r{number}"),
                forward(f"extra{number}", match={"path_prefix": "/never"}),
            ],
        )

    running = weir(settings(0))
    with Load(lambda: Http2Client(running.edge)) as load:
        for number in range(1, 11):
            before = sum(load.served)
            running.reload(settings(number))
            until(lambda: sum(load.served) > before + 40 or load.wrong, "requests flow")
    load.check()
    assert running.wait_total(4, "downstream_http2_connections_total") == 4, "none had to go"


def test_a_listener_that_ends_under_load_loses_nothing(weir, upstream):
    """Its clients are told to go, and what was begun is answered before they do."""
    behind = upstream(lambda request: ok(request.body))
    rest = configuration([cluster("main", behind)])
    address = free_address()
    both = rest | {"listeners": [listener(), listener("second", address)]}
    running = weir(both)

    def connect():
        """To the listener that comes and goes, while it is there."""
        try:
            return Http2Client(address)
        except (OSError, AssertionError):
            return Http2Client(running.edge)

    with Load(connect) as load:
        for _ in range(5):
            before = sum(load.served)
            running.reload(rest)
            until(lambda: sum(load.served) > before + 100 or load.wrong, "requests flow")
            running.reload(both)
    load.check()


def test_certificates_are_rotated_under_load(weir, upstream, authority, tmp_path):
    """Open connections go on with the old certificate, new ones see the new one, none is lost."""
    fresh = [authority.issue("DNS:shop.test", f"DNS:n{number}.test") for number in range(3)]
    placed = type(fresh[0])(tmp_path / "shop.pem", tmp_path / "shop.key")
    placed.install(fresh[0])
    settings = configuration(
        [cluster("main", upstream(lambda request: ok(request.body)))],
        listeners=[listener(tls={"certificates": [placed.files]})],
    )
    running = weir(settings)
    context = authority.client(protocols=["h2"])

    def connect():
        return Http2Client(running.edge, tls=context, name="shop.test")

    def shown():
        with connect() as client:
            return {value for _, value in client.sock.getpeercert()["subjectAltName"]}

    with connect() as kept, Load(connect, per_connection=3) as load:
        for number in range(1, 7):
            before = sum(load.served)
            placed.install(fresh[number % 3])
            code, text = running.ask("POST", "/reload")
            assert code == 200, text
            until(lambda: sum(load.served) > before + 40 or load.wrong, "requests flow")
            until(lambda: shown() == {"shop.test", f"n{number % 3}.test"}, "the new one is shown")
            assert kept.get(method="POST", body=b"kept").body == b"kept"
    load.check()
