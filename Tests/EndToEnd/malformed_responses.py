"""Answers of an upstream that are malformed or legal by a hair, each with what the client must see.

Refused: 502 upstream_protocol (or upstream_reset where the answer only stops), and the upstream
connection is not used again. Forwarded: this reaches the client. Truncated: the head was passed on
before the fault showed, so the client must be able to tell that the body is not whole.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refused:
    reasons: tuple = ("upstream_protocol",)


@dataclass(frozen=True)
class Forwarded:
    status: int = 200
    body: bytes = b"hello"
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    #: Whether weir may, must (True) or must not (False) use the upstream connection again.
    reused: bool = None
    interim: tuple = ()


@dataclass(frozen=True)
class Truncated:
    pass


@dataclass(frozen=True)
class Either:
    refused: Refused
    forwarded: Forwarded


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    verdict: object
    method: str = "GET"
    #: The upstream closes after its answer.
    closes: bool = False
    #: More bytes than the answer follow at once; later they would meet the next request.
    has_excess: bool = False


BAD = Refused()
RESET = Refused(("upstream_reset", "upstream_protocol"))
CASES = []
LENGTH = "Content-Length: 5"
CHUNKED = "Transfer-Encoding: chunked"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def case(name, data, verdict, **options):
    CASES.append(Case(name, data, verdict, **options))


def answer(*lines, first="HTTP/1.1 200 OK", body=b"hello"):
    return b"".join(line.encode("latin-1") + b"\r\n" for line in (first, *lines)) + b"\r\n" + body


case("plain", answer(LENGTH), Forwarded(reused=True))
case("chunked", answer(CHUNKED, body=HELLO), Forwarded(reused=True))
case("until close", answer(), Forwarded(reused=False), closes=True)
case("until close, HTTP/1.0", answer(first="HTTP/1.0 200 OK"), Forwarded(reused=False), closes=True)
case("CL in HTTP/1.0", answer(LENGTH, first="HTTP/1.0 200 OK"), Forwarded(reused=False))
case("Connection: close", answer(LENGTH, "Connection: close"), Forwarded(reused=False))
case("no reason phrase", answer(LENGTH, first="HTTP/1.1 200 "), Forwarded())
case("no reason phrase, no space", answer(LENGTH, first="HTTP/1.1 200"), Either(BAD, Forwarded()))
case("reason phrase with high bytes", answer(LENGTH, first="HTTP/1.1 200 \xe4\xff"), Forwarded())
case("status 599", answer(LENGTH, first="HTTP/1.1 599 Odd"), Forwarded(599))
case("status 299", answer(LENGTH, first="HTTP/1.1 299 Odd"), Forwarded(299))
case("status 204", answer(first="HTTP/1.1 204 No Content", body=b""), Forwarded(204, b"", reused=True))
case("status 304 with CL", answer(LENGTH, first="HTTP/1.1 304 Not Modified", body=b""), Forwarded(304, b"", reused=True))
case("status 204 with CL", answer(LENGTH, first="HTTP/1.1 204 No Content", body=b""), Either(BAD, Forwarded(204, b"", lacks=("content-length",))))
case("status 204 with TE", answer(CHUNKED, first="HTTP/1.1 204 No Content", body=b""), Either(BAD, Forwarded(204, b"", lacks=("transfer-encoding",))))
case("status 204 with a body", answer(first="HTTP/1.1 204 No Content", body=b"hello"), Forwarded(204, b"", reused=False), has_excess=True)
case("HEAD", answer(LENGTH, body=b""), Forwarded(200, b"", has={"content-length": "5"}, reused=True), method="HEAD")
case("HEAD chunked", answer(CHUNKED, body=b""), Forwarded(200, b"", reused=True), method="HEAD")
case("HEAD with a body", answer(LENGTH), Forwarded(200, b"", reused=False), method="HEAD", has_excess=True)
case("more than its CL", answer(LENGTH, body=b"hello world"), Forwarded(reused=False), has_excess=True)
case("more than its chunks", answer(CHUNKED, body=HELLO + b"HTTP/1.1 200 OK\r\n\r\n"), Forwarded(reused=False), has_excess=True)
case("two answers", answer(LENGTH) + answer(LENGTH, body=b"other"), Forwarded(reused=False), has_excess=True)
case("100 before", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(LENGTH), Forwarded())
case("103 before", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(LENGTH), Forwarded(interim=(103,)))
case("two 103 before", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + answer(LENGTH), Forwarded(interim=(103, 103)))
case("102 before", b"HTTP/1.1 102 Processing\r\n\r\n" + answer(LENGTH), Forwarded(interim=(102,)))
case("hop-by-hop fields", answer(LENGTH, "Connection: x-a, keep-alive", "X-A: 1", "Keep-Alive: timeout=5", "X-B: 2"),
     Forwarded(has={"x-b": "2"}, lacks=("x-a", "keep-alive")))
case("two Set-Cookie", answer(LENGTH, "Set-Cookie: a=1", "Set-Cookie: b=2"), Forwarded())
case("field with high bytes", answer(LENGTH, "X: \xe4"), Forwarded(has={"x": "\xe4"}))
case("chunk extensions", answer(CHUNKED, body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), Forwarded())
case("upper-case TE", answer("TRANSFER-ENCODING: CHUNKED", body=HELLO), Forwarded())

# --- heads that are refused

for name, line in [
    ("HTTP/2.0", "HTTP/2.0 200 OK"), ("HTTP/0.9", "HTTP/0.9 200 OK"), ("HTTP/1.10", "HTTP/1.10 200 OK"),
    ("lower case", "http/1.1 200 OK"), ("ICY", "ICY 200 OK"), ("no version", "200 OK"), ("no status", "HTTP/1.1 "),
    ("only a version", "HTTP/1.1"), ("status of two digits", "HTTP/1.1 20 OK"), ("status of four digits", "HTTP/1.1 2000 OK"),
    ("status 000", "HTTP/1.1 000 Zero"), ("status 099", "HTTP/1.1 099 Low"), ("negative status", "HTTP/1.1 -20 OK"),
    ("status with a letter", "HTTP/1.1 2x0 OK"), ("two spaces before the status", "HTTP/1.1  200 OK"),
    ("tab before the status", "HTTP/1.1\t200 OK"), ("leading space", " HTTP/1.1 200 OK"), ("NUL in the reason", "HTTP/1.1 200 O\0K"),
    ("CR in the reason", "HTTP/1.1 200 O\rK"), ("control in the reason", "HTTP/1.1 200 O\x01K"), ("a request", "GET / HTTP/1.1"),
    ("HTML", "<html>"), ("status then letter", "HTTP/1.1 200OK"),
]:
    case(f"line: {name}", answer(LENGTH, first=line), BAD)
for name, line in [
    ("CL twice, different", "Content-Length: 5\r\nContent-Length: 6"), ("CL negative", "Content-Length: -5"), ("CL plus", "Content-Length: +5"),
    ("CL empty", "Content-Length:"), ("CL of letters", "Content-Length: five"), ("CL hex", "Content-Length: 0x5"),
    ("CL 2^64 + 5", "Content-Length: 18446744073709551621"), ("CL two words", "Content-Length: 5 5"), ("CL list", "Content-Length: 5, 6"),
    ("TE unknown", "Transfer-Encoding: cow"), ("TE gzip", "Transfer-Encoding: gzip"), ("TE gzip, chunked", "Transfer-Encoding: gzip, chunked"),
    ("TE chunked twice", "Transfer-Encoding: chunked, chunked"), ("TE xchunked", "Transfer-Encoding: xchunked"),
    ("space before colon", "Content-Length: 5\r\nX : y"), ("space before CL's colon", "Content-Length : 5"), ("no name", "Content-Length: 5\r\n: y"),
    ("no colon", "Content-Length: 5\r\nX"), ("obs-fold", "Content-Length: 5\r\nX: a\r\n b"), ("NUL in a value", "Content-Length: 5\r\nX: \0"),
    ("CR in a value", "Content-Length: 5\r\nX: a\rb"), ("LF for CRLF", "Content-Length: 5\nX: y"), ("control in a value", "Content-Length: 5\r\nX: \x01"),
    ("space in a name", "Content-Length: 5\r\nX Y: z"), ("first line folded", " X: y\r\nContent-Length: 5"),
    ("high byte in a name", "Content-Length: 5\r\nX\xe4: z"),
]:
    case(f"field: {name}", answer(line), BAD)
case("CL and TE", answer(LENGTH, CHUNKED, body=HELLO), BAD)
case("CL twice, equal", answer(LENGTH, LENGTH), Either(BAD, Forwarded()))
case("TE in HTTP/1.0", answer(CHUNKED, first="HTTP/1.0 200 OK", body=HELLO), Either(BAD, Forwarded(reused=False)))
case("LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", BAD)
case("2000 fields", answer(LENGTH, *["X: y"] * 2000), BAD)
case("1 MB of field", answer(LENGTH, "X: " + "y" * (1 << 20)), BAD)
case("a head without end", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000, BAD)
case("101 that nobody asked for", answer("Connection: upgrade", "Upgrade: foo", first="HTTP/1.1 101 Switching Protocols", body=b""), BAD)
case("1000 interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + answer(LENGTH),
     Either(BAD, Forwarded(interim=(103,) * 1000)))
case("binary", bytes(range(256)) * 4, BAD)
case("TLS alert", bytes.fromhex("15030300020228"), Refused(("upstream_protocol", "upstream_reset")), closes=True)
case("nothing", b"", RESET, closes=True)
case("half a status line", b"HTTP/1.1 20", RESET, closes=True)
case("half a head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", RESET, closes=True)
case("only an interim answer", b"HTTP/1.1 100 Continue\r\n\r\n", RESET, closes=True)

# --- faults in a body come after the head

for name, body in [
    ("bad size", b"xyz\r\nhello\r\n0\r\n\r\n"), ("negative size", b"-5\r\nhello\r\n0\r\n\r\n"), ("size ended by LF", b"5\nhello\r\n0\r\n\r\n"),
    ("data too long", b"5\r\nhelloo\r\n0\r\n\r\n"), ("data too short", b"6\r\nhello\r\n0\r\n\r\n"), ("size overflow", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bad trailer", b"5\r\nhello\r\n0\r\nX Y: z\r\n\r\n"), ("LF at the end", b"5\r\nhello\r\n0\r\n\n"),
]:
    case(f"chunk: {name}", answer(CHUNKED, body=body), Truncated())
case("stops in its CL", answer(LENGTH, body=b"hel"), Truncated(), closes=True)
case("stops in a chunk", answer(CHUNKED, body=b"5\r\nhel"), Truncated(), closes=True)
case("stops before the last chunk", answer(CHUNKED, body=b"5\r\nhello\r\n"), Truncated(), closes=True)
