"""Faults that end a connection of HTTP/2: the right GOAWAY, a close, nothing at the endpoint."""

import pytest

from harness import Client, cluster, configuration, listener, patience, until
from harness.http2 import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Http2Client,
    frame,
    settings_of,
    word,
)

#: Short, but long enough that a slow build still gets ordinary requests through.
SHORT = f"{int(patience(700))}ms"
CASES = []


def case(name, attack, *codes):
    """`attack` is what is sent, or makes it from the client."""
    CASES.append(pytest.param(attack, codes, id=name))


def head(client, number, flags=END_HEADERS | END_STREAM, path="/never"):
    """A head on a stream of this number, however it may be."""
    return frame(HEADERS, flags, number, client.encoder.encode(client.fields(path=path)))


def posting(client, number=1):
    """The number of a stream whose body has not come."""
    client.next_number = number
    return client.request("POST", "/unfinished", [("content-length", "9")], end=False).number


ALL = END_HEADERS | END_STREAM

# --- streams that there are not

case("DATA on 0", frame(DATA, END_STREAM, 0, b"x"), PROTOCOL_ERROR)
case("HEADERS on 0", lambda client: head(client, 0), PROTOCOL_ERROR)
case("HEADERS on an even stream", lambda client: head(client, 2), PROTOCOL_ERROR)
case("CONTINUATION on 0", frame(CONTINUATION, END_HEADERS, 0, b""), PROTOCOL_ERROR)
case("RST_STREAM on 0", frame(RST_STREAM, 0, 0, word(8)), PROTOCOL_ERROR)
case("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 9, word(8)), PROTOCOL_ERROR)
case("DATA on an idle stream", frame(DATA, END_STREAM, 9, b"x"), PROTOCOL_ERROR)
case("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 9, word(1)), PROTOCOL_ERROR)
case("SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL_ERROR)
case("PING on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR)
case("GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR)
case("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, word(2)), PROTOCOL_ERROR)
case("PUSH_PROMISE on an open stream",
     lambda client: frame(PUSH_PROMISE, END_HEADERS, posting(client), word(2) + b"\x82"),
     PROTOCOL_ERROR)

# --- frames of a wrong size

for kind, name, length in (
    *((HEADERS, "HEADERS", 16_385), (HEADERS, "HEADERS", 2**24 - 1), (PING, "PING", 16_385)),
    *((SETTINGS, "SETTINGS", 16_386), (0x42, "an unknown frame", 2**24 - 1)),
    *((PING, "PING", 7), (PING, "PING", 9), (SETTINGS, "SETTINGS", 5), (GOAWAY, "GOAWAY", 7)),
    *((WINDOW_UPDATE, "WINDOW_UPDATE", 3), (WINDOW_UPDATE, "WINDOW_UPDATE", 5)),
):
    stream = 1 if kind == HEADERS else 0
    payload = bytes(min(length, 17_000))
    case(f"{name} of {length}", frame(kind, 0, stream, payload, length), FRAME_SIZE_ERROR)
case("DATA of 16385",
     lambda client: frame(DATA, 0, posting(client), bytes(16_385)), FRAME_SIZE_ERROR)
case("RST_STREAM of 3",
     lambda client: frame(RST_STREAM, 0, posting(client), bytes(3)), FRAME_SIZE_ERROR)
case("an acknowledgement with a payload",
     frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR)
case("padding beyond the frame in DATA",
     lambda client: frame(DATA, PADDED, posting(client), b"\x05abcd"), PROTOCOL_ERROR)
case("padding beyond the frame in HEADERS",
     frame(HEADERS, ALL | PADDED, 1, b"\x09\x82\x86\x84"), PROTOCOL_ERROR)
case("HEADERS too short for their priority",
     frame(HEADERS, ALL | WITH_PRIORITY, 1, b"\0\0\0\1"), FRAME_SIZE_ERROR, PROTOCOL_ERROR)

# --- heads that cannot be read

for name, block in (
    ("index 0", b"\x80"),
    ("an index beyond the table", b"\xff\x80\x01"),
    ("an index without end", b"\xff" + b"\x80" * 20 + b"\x01"),
    ("a cut index", b"\xff"),
    ("a cut name", b"\x40\x0aabc"),
    ("a cut value", b"\x82\x40\x01a\x7f"),
    ("a string as long as memory", b"\x40\x7f\xff\xff\xff\xff\x0f"),
    ("a code that says it ends", b"\x40\x01a\x84\xff\xff\xff\xff"),
    ("a code with a byte of padding", b"\x40\x01a\x82\x1f\xff"),
    ("a table larger than allowed", b"\x3f\xe1\xff\xff\x03\x82\x86\x84"),
    ("a table that changes too late", b"\x82\x86\x84\x3f\x01"),
):
    case(f"head with {name}", frame(HEADERS, ALL, 1, block), COMPRESSION_ERROR)
case("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL_ERROR)
case("CONTINUATION after the end of a head",
     lambda client: head(client, 1, path="/fine") + frame(CONTINUATION, END_HEADERS, 1, b""),
     PROTOCOL_ERROR)
for kind, name, number, payload in (
    *((PING, "PING", 0, bytes(8)), (SETTINGS, "SETTINGS", 0, b""), (DATA, "DATA", 1, b"x")),
    *((HEADERS, "HEADERS", 3, b"\x82\x86\x84"), (HEADERS, "HEADERS again", 1, b"\x82")),
    *((CONTINUATION, "another CONTINUATION", 3, b""), (RST_STREAM, "RST_STREAM", 1, word(8))),
    *((WINDOW_UPDATE, "WINDOW_UPDATE", 0, word(1)), (0x42, "an unknown frame", 1, b"")),
):
    case(f"{name} in a head",
         lambda client, inside=frame(kind, 0, number, payload): head(client, 1, 0) + inside,
         PROTOCOL_ERROR)

# --- settings and windows

case("ENABLE_PUSH of 2", frame(SETTINGS, payload=settings_of({ENABLE_PUSH: 2})), PROTOCOL_ERROR)
case("INITIAL_WINDOW_SIZE of 2^31",
     frame(SETTINGS, payload=settings_of({INITIAL_WINDOW_SIZE: 2**31})), FLOW_CONTROL_ERROR)
for size in (0, 16_383, 2**24):
    case(f"MAX_FRAME_SIZE of {size}",
         frame(SETTINGS, payload=settings_of({MAX_FRAME_SIZE: size})), PROTOCOL_ERROR)
case("WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, word(0)), PROTOCOL_ERROR)
case("a window of the connection beyond 2^31 - 1",
     frame(WINDOW_UPDATE, 0, 0, word(LARGEST)) * 2, FLOW_CONTROL_ERROR)


@pytest.fixture(scope="module")
def table(module_weir, module_upstream):
    behind = module_upstream()
    return module_weir(configuration([cluster("main", behind)], runtime={"workers": 1})), behind


def ended(running):
    """Connections that were ended for what their clients did."""
    faults = running.total("downstream_http2_errors_total", reason="protocol")
    return faults + running.total("downstream_http2_floods_total")


@pytest.mark.parametrize("attack, codes", CASES)
def test_a_fault_ends_the_connection(table, attack, codes):
    running, behind = table
    first, before = len(behind.requests), ended(running)
    with Http2Client(running.edge) as client:
        client.attack([attack if isinstance(attack, bytes) else attack(client)])
        client.expect_close(*codes)
    with Http2Client(running.edge) as other:
        assert other.get("/fence").status == 200
    assert {request.target for request in behind.requests[first:]} <= {"/fence", "/fine"}
    until(lambda: ended(running) == before + 1, "it is counted")
    assert not behind.violations


STREAM_FAULTS = {
    "WINDOW_UPDATE of 0": (frame(WINDOW_UPDATE, 0, 1, word(0)), PROTOCOL_ERROR),
    "a window beyond 2^31 - 1": (frame(WINDOW_UPDATE, 0, 1, word(LARGEST)), FLOW_CONTROL_ERROR),
    "a window that SETTINGS raise beyond 2^31 - 1": (
        frame(WINDOW_UPDATE, 0, 1, word(LARGEST - 65_535))
        + frame(SETTINGS, payload=settings_of({INITIAL_WINDOW_SIZE: 65_536})),
        FLOW_CONTROL_ERROR,
    ),
    "PRIORITY of a wrong size": (frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    "PRIORITY before itself": (frame(PRIORITY, 0, 1, word(1) + b"\x10"), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_fault_of_a_stream_ends_at_least_that(table, name):
    """RFC 9113 lets the connection end as well; a priority may also be passed over, unread."""
    running, behind = table
    fault, code = STREAM_FAULTS[name]
    first = len(behind.requests)
    with Http2Client(running.edge) as client:
        stream = client.request("POST", "/unfinished", [("content-length", "9")], end=False)
        client.send(fault)
        if client.ping():
            assert stream.reset == code or "PRIORITY" in name and not stream.is_over
            assert client.get("/fence").status == 200
        else:
            assert client.goaways[-1].error_code == code
    assert {request.target for request in behind.requests[first:]} <= {"/fence"}


def test_what_follows_the_preface_is_settings(table):
    running, _ = table
    with Http2Client(running.edge, preface=PREFACE + frame(PING, payload=bytes(8))) as client:
        client.expect_close(PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: a.test\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/1.1\r\nHost: a.test\r\n\r\nSM\r\n\r\n",
        b"pri * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b" PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" + PREFACE + frame(SETTINGS),
    ],
)
def test_a_wrong_preface_is_a_malformed_request(table, data):
    """It is refused as such, or the connection is closed; it never becomes HTTP/2."""
    running, behind = table
    first = len(behind.requests)
    with Client(running.edge) as client:
        client.send(data)
        if data.startswith(b"GET"):
            assert client.read().status == 200
        pieces = []
        client.to_end(pieces.append)
        answer = b"".join(pieces)
        if answer.startswith(b"HTTP/"):
            assert answer[9:12] in (b"400", b"501", b"505"), answer
    assert len(behind.requests) - first == data.startswith(b"GET")


@pytest.mark.parametrize("cut", [1, 10, 23])
def test_half_a_preface_is_waited_for_only_so_long(weir, upstream, cut):
    listeners = [listener(limits={"header_timeout": SHORT, "idle_timeout": SHORT})]
    running = weir(configuration([cluster("main", upstream())], listeners=listeners))
    with Client(running.edge) as client:
        client.send(PREFACE[:cut])
        client.to_end(lambda piece: None)
    assert running.get().status == 200


def test_half_a_head_is_waited_for_only_so_long(weir, upstream):
    behind = upstream()
    listeners = [listener(limits={"header_timeout": SHORT})]
    running = weir(configuration([cluster("main", behind)], listeners=listeners))
    with Http2Client(running.edge) as client:
        client.send(head(client, 1, 0))
        client.expect_close(ENHANCE_YOUR_CALM)
    assert not behind.requests
    assert running.wait_total(1, "downstream_http2_errors_total", reason="header_timeout") == 1
    assert ended(running) == 0


def test_an_idle_connection_is_closed_with_a_word(weir, upstream):
    """Before its first request and after its last; PINGs are no requests."""
    listeners = [listener(limits={"idle_timeout": SHORT, "header_timeout": SHORT})]
    running = weir(configuration([cluster("main", upstream())], listeners=listeners))
    for count in range(3):
        with Http2Client(running.edge) as client:
            for _ in range(count):
                assert client.get().status == 200
            client.ping()
            client.expect_close(NO_ERROR)
    until(lambda: running.total("downstream_connections") == 0, "all are gone")


def test_http_1_after_http_2_was_agreed_on_is_closed(pair, authority):
    shop = authority.issue("DNS:shop.test")
    running, behind = pair(listeners=[listener(tls={"certificates": [shop.files]})])
    with Client(running.edge, tls=authority.client(protocols=["h2"]), name="shop.test") as client:
        client.request()
        client.to_end(lambda piece: None)
    assert not behind.connections
