"""Floods over HTTP/2: whoever sends one is shut out, and nobody else notices."""

import threading
from contextlib import contextmanager

import pytest

from harness import Client, cluster, configuration, listener, ok, patience, until
from harness.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    MAX_CONCURRENT_STREAMS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Client,
    frame,
    settings_of,
    word,
)

MIB = 1 << 20
SHORT = f"{int(patience(700))}ms"


@contextmanager
def bystander(running):
    """A client of each protocol that goes on asking meanwhile; all of its answers must be right."""
    stop, wrong, answered = threading.Event(), [], [0, 0]

    def ask(place, client, get):
        try:
            with client:
                while not stop.is_set():
                    answer = get(client)
                    if answer.status != 200:
                        wrong.append((place, answer.status, answer.reason))
                    answered[place] += 1
        except Exception as error:
            wrong.append(error)

    def old(client):
        client.request(path="/bystander")
        return client.read()

    work = [
        (0, Http2Client(running.edge), lambda client: client.get("/bystander")),
        (1, Client(running.edge), old),
    ]
    threads = [threading.Thread(target=ask, args=one) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
        # They are served after the flood as well as in it.
        before = list(answered)
        until(
            lambda: wrong or all(now > then for now, then in zip(answered, before)),
            f"the others are served; {answered}",
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience(20))
    assert not wrong, wrong[:3]


def floods(running):
    return running.total("downstream_http2_floods_total")


def asked(behind):
    """The requests at the endpoint that were not a bystander's."""
    return [request.target for request in behind.requests if request.target != "/bystander"]


def posting(client):
    return client.request("POST", "/attack", [("content-length", "100000")], end=False).number


def batches(piece, count, size=500):
    """`count` frames in writes of a moderate size."""
    return [piece * size] * (count // size)


LARGER = settings_of({INITIAL_WINDOW_SIZE: 70_000})
#: What makes the frame, and how many of them are sent.
FLOODS = {
    "PING": (lambda client: frame(PING, payload=bytes(8)), 20_000),
    "SETTINGS": (lambda client: frame(SETTINGS, payload=LARGER), 5_000),
    "empty SETTINGS": (lambda client: frame(SETTINGS), 5_000),
    "empty DATA": (lambda client: frame(DATA, 0, posting(client)), 20_000),
    "padding in DATA": (lambda client: frame(DATA, PADDED, posting(client), b"\0"), 20_000),
    "WINDOW_UPDATE": (lambda client: frame(WINDOW_UPDATE, 0, 0, word(1)), 50_000),
    "WINDOW_UPDATE of a stream": (
        lambda client: frame(WINDOW_UPDATE, 0, posting(client), word(1)),
        50_000,
    ),
    "PRIORITY": (lambda client: frame(PRIORITY, 0, 7, bytes(4) + b"\x10"), 50_000),
    "unknown frames": (lambda client: frame(0x42, 0, 0, b""), 50_000),
    "unknown frames of a stream": (lambda client: frame(0x42, 0, posting(client), b"x"), 50_000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(pair, name):
    running, behind = pair()
    make, count = FLOODS[name]
    before = running.resident
    with bystander(running), Http2Client(running.edge) as client:
        client.attack(batches(make(client), count))
        client.expect_close(ENHANCE_YOUR_CALM)
        assert running.resident - before < patience(16 * MIB)
    assert floods(running) == 1
    assert not asked(behind)


def cancelled(client, count):
    """So many requests, each cancelled at once."""
    pieces = []
    for _ in range(count):
        stream, data = client.head(client.fields(path="/attack"))
        pieces.append(data + frame(RST_STREAM, 0, stream.number, word(8)))
    return b"".join(pieces)


@pytest.mark.parametrize("way", ["at once", "in small batches", "in step with the answers"])
def test_rapid_reset(pair, way):
    """CVE-2023-44487: a request that is cancelled costs its client nothing, the endpoint much."""
    running, behind = pair(lambda request: ok(b"x" * 1000))
    with bystander(running), Http2Client(running.edge) as client:
        if way == "at once":
            client.attack([cancelled(client, 1000)])
        elif way == "in small batches":
            client.attack(cancelled(client, 10) for _ in range(100))
        else:
            for _ in range(100):
                client.attack([cancelled(client, 10)])
                if not client.ping():
                    break
        client.expect_close(ENHANCE_YOUR_CALM)
    assert floods(running) == 1
    assert len(asked(behind)) < 100
    until(lambda: running.total("http_requests_in_flight") == 0, "no request is left")


def test_streams_that_are_made_to_be_reset_by_the_server(pair):
    """The same, but each is malformed, so that it is the server who cancels."""
    running, behind = pair()
    with bystander(running), Http2Client(running.edge) as client:
        pieces = []
        for _ in range(2000):
            stream, data = client.head(client.fields(path="/attack"))
            pieces.append(data + frame(WINDOW_UPDATE, 0, stream.number, word(0)))
        client.attack(b"".join(pieces[at : at + 20]) for at in range(0, len(pieces), 20))
        client.expect_close()
    assert len(asked(behind)) < 200


#: A frame's payload, and how many of them are sent.
ENDLESS = {
    "empty": (b"", 50_000),
    "a field each": (b"\x00\x01x\x01y", 50_000),
    "full": ((b"\x00\x01x\x7d" + b"y" * 125) * 126, 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_head_without_end(pair, name):
    """CVE-2024-27983 and its like: CONTINUATION after CONTINUATION, as no limit of fields sees."""
    running, behind = pair()
    payload, count = ENDLESS[name]
    before = running.resident
    with bystander(running), Http2Client(running.edge) as client:
        received = running.total("downstream_bytes_received_total")
        start = frame(HEADERS, END_STREAM, 1, client.encoder.encode(client.fields(path="/attack")))
        client.attack([start, *batches(frame(CONTINUATION, 0, 1, payload), count, 10)])
        client.expect_close()
        taken = running.total("downstream_bytes_received_total") - received
        assert taken < 4 * MIB, "the bystanders' requests are in it"
        assert running.resident - before < patience(16 * MIB)
    assert not asked(behind)


@pytest.mark.parametrize("references", [100, 4000, 12_000])
def test_a_small_head_that_means_a_large_one(pair, references):
    """A field of 4,000 bytes that stands in the table, and a byte for each mention of it."""
    running, behind = pair()
    before = running.resident
    with bystander(running), Http2Client(running.edge) as client:
        stream, data = client.head(client.fields(path="/attack"))
        # A literal that is put into the table, with a length of 127 + 0x21 + (0x1e << 7).
        entry = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
        block = data[9:] + entry + b"\xbe" * references
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream.number, block))
        client.until(lambda: stream.is_over)
        assert stream.status == 431 or stream.reset is not None or client.goaways, stream.outcome
        if references > 100:
            client.expect_close()
            assert client.goaways[-1].error_code == ENHANCE_YOUR_CALM
            assert running.wait_total(1, "weir_refusals_total", reason="head_too_large") == 1
        assert running.resident - before < patience(16 * MIB)
    assert not asked(behind)


def test_bodies_that_never_come_reach_nobody(pair):
    """A hundred streams of POST with a head and no more."""
    running, behind = pair()
    descriptors = running.open_files
    with bystander(running):
        with Http2Client(running.edge) as client:
            for number in range(100):
                length = [("content-length", "10")] if number % 2 else []
                client.request("POST", "/attack", length, end=False)
            assert client.ping()
            assert not asked(behind)
    until(lambda: running.open_files <= descriptors + 2, "all but the kept connections are gone")
    assert not asked(behind)


# Clients that do not read


@pytest.mark.parametrize("name", ["PING", "SETTINGS"])
def test_a_client_that_never_reads_what_it_asked_for(pair, name):
    running, _ = pair(listeners=[listener(limits={"send_timeout": SHORT})])
    piece = {"PING": frame(PING, payload=bytes(8)), "SETTINGS": frame(SETTINGS)}[name]
    before = running.resident
    with bystander(running), Http2Client(running.edge, receive_buffer=4096, seconds=30) as client:
        try:
            for data in batches(piece, 1_000_000, 5000):
                client.send(data)
                if floods(running):
                    break
        except ConnectionError:
            pass
        assert running.resident - before < patience(32 * MIB)
        assert floods(running) == 1
        until(lambda: running.total("downstream_connections") == 2, "only the others are left")


def test_a_client_that_opens_its_windows_and_reads_nothing(pair):
    """100 answers of 1 MB may be sent as far as windows go; only what the socket takes is."""
    running, behind = pair(
        lambda request: ok(b"x" * (MIB if request.target == "/attack" else 10)),
        listeners=[listener(limits={"send_timeout": SHORT, "send_min_rate": "1KiB/s"})],
    )
    before = running.resident
    settings = {INITIAL_WINDOW_SIZE: LARGEST}
    with bystander(running):
        with Http2Client(running.edge, settings, windows=False, receive_buffer=4096) as client:
            client.open_window(None, LARGEST - 70_000)
            for _ in range(100):
                client.request(path="/attack")
            behind.wait(lambda: len(asked(behind)) == 100, "all requests came")
            assert running.resident - before < patience(32 * MIB)
            slow = running.wait_log(100, lambda line: line["path"] == "/attack")
            assert running.resident - before < patience(32 * MIB)
    # What the socket's buffer has taken whole is an answer like any other.
    reasons = {line["reason"] for line in slow}
    assert "client_too_slow" in reasons and reasons <= {"client_too_slow", "client_gone", None}


# Too many streams


def test_streams_beyond_the_limit_are_refused_and_the_rest_served(pair):
    go = threading.Event()

    def answer(request):
        assert go.wait(patience(30))
        return ok(request.target.encode())

    running, behind = pair(answer)
    # Who opens more after having acknowledged the limit breaks the connection's rules.
    with Http2Client(running.edge, ack=False) as client:
        assert client.settings[MAX_CONCURRENT_STREAMS] == 100, "the limit is announced"
        streams = [client.request(path=f"/{number}") for number in range(150)]
        assert client.until(lambda: sum(stream.is_over for stream in streams) == 50)
        assert [stream.reset for stream in streams[100:]] == [REFUSED_STREAM] * 50
        assert not any(stream.is_over for stream in streams[:100])
        behind.wait_requests(100)
        assert len(behind.requests) == 100
        go.set()
        for number, stream in enumerate(streams[:100]):
            assert client.read(stream).body == b"/%d" % number
        assert client.get("/after").body == b"/after"
        assert not client.goaways


def test_the_limit_of_streams_is_a_setting(pair):
    go = threading.Event()
    running, _ = pair(
        lambda request: go.wait(patience(30)) and ok(),
        listeners=[listener(limits={"max_concurrent_streams": 3})],
    )
    with Http2Client(running.edge, ack=False) as client:
        assert client.settings[MAX_CONCURRENT_STREAMS] == 3
        streams = [client.request() for _ in range(5)]
        assert client.until(lambda: sum(stream.reset == REFUSED_STREAM for stream in streams) == 2)
        go.set()
        assert [client.read(stream).status for stream in streams[:3]] == [200] * 3


def test_streams_beyond_an_acknowledged_limit_end_the_connection(pair):
    go = threading.Event()
    running, behind = pair(
        lambda request: go.wait(patience(30)) and ok(),
        listeners=[listener(limits={"max_concurrent_streams": 3})],
    )
    with Http2Client(running.edge) as client:
        assert client.ping(), "the limit is acknowledged"
        for _ in range(5):
            client.request()
        assert client.until(lambda: client.goaways)
        assert client.goaways[-1].error_code == PROTOCOL_ERROR
    assert len(behind.requests) <= 3
    go.set()


def test_a_stream_that_is_opened_again_is_not_served(pair):
    """Nor is one whose number was passed by: what comes for it is too late, and is ignored."""
    running, behind = pair(lambda request: ok())
    with Http2Client(running.edge) as client:
        first = client.get("/first")
        fields = client.fields(path="/again")
        _, block = client.head(fields, stream=first)
        client.send(block)
        client.next_number += 4
        assert client.get("/next").status == 200
        _, block = client.head(fields, stream=first)
        client.send(block[:5] + word(client.next_number - 4) + block[9:])
        assert client.get("/last").status == 200
    assert not [request for request in behind.requests if request.target == "/again"]


# What is no flood


def test_what_busy_clients_do_is_no_flood(weir, upstream):
    """PINGs, cancelled requests, small frames and changed settings, but answers between them."""
    behind = upstream(lambda request: ok(request.body or b"x" * 50_000))
    running = weir(configuration([cluster("main", behind)]))
    with Http2Client(running.edge) as client:
        for number in range(100):
            assert client.ping()
            if number % 4 == 0:
                client.cancel(client.request(path="/cancelled"))
            if number % 10 == 0:
                client.change({INITIAL_WINDOW_SIZE: 60_000 + number})
            client.send(frame(PRIORITY, 0, client.next_number, bytes(4) + b"\x10"))
            assert client.get().status == 200
        stream = client.request("POST", end=False)
        for _ in range(500):
            client.data(stream, b"0123456789", end=False)
        client.data(stream)
        assert client.read(stream).length == 5000
        assert not client.goaways
    assert floods(running) == 0


def test_floods_by_many_connections_leave_nothing_behind(pair):
    running, _ = pair()
    assert running.get("/bystander").status == 200
    descriptors, before = running.open_files, running.resident
    for _ in range(20):
        with Http2Client(running.edge) as client:
            client.attack([cancelled(client, 500)])
            client.attack(batches(frame(PING, payload=bytes(8)), 20_000))
            client.expect_close(ENHANCE_YOUR_CALM)
    assert floods(running) == 20
    until(lambda: running.open_files <= descriptors + 2, "the descriptors are free again")
    assert running.resident - before < patience(16 * MIB)
