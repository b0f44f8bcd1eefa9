"""The attacks: what each connection sends, how many there are, and what is asked of weir."""

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Callable

import frames
from frames import END_HEADERS, END_STREAM, frame, request, word

#: Stands for a timeout that is shorter than weir's own, so that a run shows what comes after it.
SOON = "@SOON@"


@dataclass
class Take:
    """A step of a script: to read so many bytes and no more."""

    count: int


@dataclass
class Attack:
    """A script yields what is sent next, a pause in seconds, or a `Take`, until it rests.

    There are `at_once` connections at any time: another one for each that ends, `most` in all.
    """

    title: str
    script: Callable | None = None
    at_once: int = 4
    most: int = 20_000
    is_http2: bool = False
    is_secure: bool = False
    is_handshake: bool = False
    reads: bool = True
    receive_buffer: int = 0
    #: Of the listener, where they are not what weir has by itself.
    limits: dict = field(default_factory=dict)
    endpoint_http2: bool = False
    #: At most so many MB more than in calm, and so many requests at the origin.
    memory: float = 64
    reached: int | None = None


def opening(**values):
    return frames.PREFACE + frames.settings(**values)


def over_and_over(piece):
    while True:
        yield piece


# HTTP/2


@lru_cache
def resets(first, count=50):
    block, cancel = frames.head("/attack"), word(8)
    streams = range(first, first + 2 * count, 2)
    return b"".join(request(n, block) + frame(frames.RST_STREAM, 0, n, cancel) for n in streams)


def rapid_reset():
    yield opening()
    for first in range(1, 1 << 20, 100):
        yield resets(first)


def rapid_reset_in_step():
    """The requests are on their way to the origin before they are cancelled."""
    yield opening()
    block, cancel = frames.head("/attack"), word(8)
    for first in range(1, 1 << 20, 20):
        streams = range(first, first + 20, 2)
        yield b"".join(request(n, block) for n in streams)
        yield 0.002
        yield b"".join(frame(frames.RST_STREAM, 0, n, cancel) for n in streams)


def continuation():
    yield opening() + request(1, frames.head("/attack"), END_STREAM)
    yield from over_and_over(frame(frames.CONTINUATION, 0, 1, b"\x00\x01x\x01y") * 1000)


def settings_flood():
    yield opening()
    yield from over_and_over(frames.settings(INITIAL_WINDOW_SIZE=70_000) * 1000)


def ping():
    yield opening()
    yield from over_and_over(frame(frames.PING, payload=bytes(8)) * 1000)


def empty_data():
    length = frames.literal(28, b"100000")
    yield opening() + request(1, frames.head("/attack", 0x83, length), END_HEADERS)
    yield from over_and_over(frame(frames.DATA, 0, 1) * 1000)


def hpack_bomb():
    """A field of 4,000 bytes that goes into the table, then a byte for each mention of it."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
    yield opening() + request(1, frames.head("/attack") + entry + b"\xbe" * 8000)
    for stream in range(3, 1 << 20, 2):
        yield request(stream, frames.head("/attack") + b"\xbe" * 12_000)


def large_answers(**values):
    """A hundred answers of 1 MB, all that a connection may ask for at once."""
    block = frames.head("/1m")
    streams = b"".join(request(n, block) for n in range(1, 201, 2))
    window = frame(frames.WINDOW_UPDATE, 0, 0, word(frames.LARGEST - 65_535))

    def script():
        yield opening(**values) + window + streams

    return script


def unfinished_posts():
    block = frames.head("/attack", 0x83, frames.literal(28, b"1000"))
    # Without a table the statuses of all answers can be read.
    lead = opening(HEADER_TABLE_SIZE=0)
    yield lead + b"".join(request(n, block, END_HEADERS) for n in range(1, 201, 2))


# HTTP/1 and below


def large_head():
    yield b"GET /attack HTTP/1.1\r\nHost: floods\r\n"
    yield from over_and_over((b"X-Field: " + b"y" * 900 + b"\r\n") * 16)


def drip(first, piece, pause=0.5):
    def script():
        yield first
        while True:
            yield pause
            yield piece

    return script


def slow_reader():
    yield b"GET /10m HTTP/1.1\r\nHost: floods\r\n\r\n"
    while True:
        yield 0.5
        yield Take(200)


@lru_cache
def half_a_hello():
    context = ssl.create_default_context()
    sent = ssl.MemoryBIO()
    half = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="floods")
    try:
        half.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = sent.read()
    return hello[: len(hello) // 2]


def slow_handshake():
    yield half_a_hello()


def silence():
    return iter(())


POST = b"POST /attack HTTP/1.1\r\nHost: floods\r\nContent-Length: 1000000\r\n\r\n"
SLOW_HEAD = b"GET /attack HTTP/1.1\r\nHost: floods\r\n"

#: Without a script: the attacker only computes, which shows what of a ratio is the stand's.
ATTACKS = {
    "control": Attack("no attack, a loop that computes"),
    "rapid-reset": Attack(
        "rapid reset, HEADERS and RST_STREAM", rapid_reset, is_http2=True, reached=0
    ),
    "rapid-reset-late": Attack(
        "rapid reset, 2 ms after each ten HEADERS", rapid_reset_in_step, is_http2=True
    ),
    "continuation": Attack("CONTINUATION without end", continuation, is_http2=True, reached=0),
    "settings": Attack("SETTINGS", settings_flood, is_http2=True, reached=0),
    "ping": Attack("PING", ping, is_http2=True, reached=0),
    "empty-data": Attack("empty DATA", empty_data, is_http2=True, reached=0),
    "hpack": Attack("HPACK bomb", hpack_bomb, is_http2=True, reached=0),
    "zero-window": Attack(
        "3,000 streams of 1 MB, windows shut",
        large_answers(INITIAL_WINDOW_SIZE=0),
        at_once=30,
        most=30,
        is_http2=True,
        limits={"send_timeout": SOON},
    ),
    "zero-window-h2": Attack(
        "the same, endpoint over HTTP/2",
        large_answers(INITIAL_WINDOW_SIZE=0),
        at_once=30,
        most=30,
        is_http2=True,
        limits={"send_timeout": SOON},
        endpoint_http2=True,
    ),
    "unread": Attack(
        "3,000 streams of 1 MB, windows open, nothing read",
        large_answers(INITIAL_WINDOW_SIZE=frames.LARGEST),
        at_once=30,
        most=30,
        is_http2=True,
        limits={"send_timeout": SOON},
        reads=False,
        receive_buffer=4096,
    ),
    "unfinished": Attack(
        "3,000 POST streams without their bodies",
        unfinished_posts,
        at_once=30,
        most=300,
        is_http2=True,
        limits={"body_timeout": SOON},
        reached=0,
    ),
    "head": Attack("heads without end", large_head, reached=0),
    "slow-head": Attack(
        "1,000 slow heads",
        drip(SLOW_HEAD, b"X-A: b\r\n"),
        at_once=1000,
        limits={"header_timeout": SOON},
        reached=0,
    ),
    "slow-body": Attack(
        "1,000 slow bodies", drip(POST, b"y" * 10), at_once=1000, limits={"body_timeout": SOON}
    ),
    "slow-reader": Attack(
        "300 slow readers of 10 MB",
        slow_reader,
        at_once=300,
        reads=False,
        receive_buffer=4096,
        limits={"send_timeout": SOON},
    ),
    "half-hello": Attack(
        "1,000 halves of a ClientHello",
        slow_handshake,
        at_once=1000,
        is_secure=True,
        limits={"header_timeout": SOON},
        reached=0,
    ),
    "handshakes": Attack(
        "TLS handshakes", is_handshake=True, script=silence, is_secure=True, reached=0
    ),
    "connections": Attack(
        "connections beyond an address's 100",
        silence,
        at_once=500,
        limits={"max_connections_per_ip": 100},
        reached=0,
    ),
}
